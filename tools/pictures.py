"""Put pictures side by side for the README: ``python -m tools.pictures OUT.png LEFT.png RIGHT.png ...``.

The pictures come from ``python -m nf_mnist.sample out=...`` and ``python -m nf_mnist.evaluate radius_plot=...``.
Smaller pictures are enlarged by a whole factor, up to the height of the largest.
"""

import sys
from pathlib import Path

from PIL import Image

GAP = 12


def side_by_side(pictures: list[Image.Image]) -> Image.Image:
    """Return the pictures in a row on a white background."""
    height = max(picture.height for picture in pictures)
    scaled = [_scale(picture.convert("RGB"), max(1, height // picture.height)) for picture in pictures]
    height = max(picture.height for picture in scaled)
    row = Image.new("RGB", (sum(picture.width + GAP for picture in scaled) - GAP, height), "white")
    left = 0
    for picture in scaled:
        row.paste(picture, (left, (height - picture.height) // 2))
        left += picture.width + GAP
    return row


def _scale(picture: Image.Image, factor: int) -> Image.Image:
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


if __name__ == "__main__":
    out, *names = map(Path, sys.argv[1:])
    out.parent.mkdir(parents=True, exist_ok=True)
    side_by_side([Image.open(name) for name in names]).save(out, optimize=True)
