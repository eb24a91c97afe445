"""What does the level prior cost on images that it is not for? ``python -m benchmarks.density.odd_images [CKPT]``.

Takes validation images, changes their grey levels, and measures bits per dimension without the prior and with
``level_prior=resampled``, by the weights of a hierarchy that was trained without it. Beside them are clothes of a kind:
blobs with a texture. The rows in ``results/odd_images.json`` have the names of the changes.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.density.bits_by_coupling import bits
from benchmarks.density.level_prior import levels_of, with_prior
from benchmarks.measuring import add_row, machine
from nf_mnist.data.resampling import SIDE

RESULT = Path(__file__).parents[2] / "results" / "odd_images.json"
PRIORS = ("none", "resampled")


def textured_blobs(like: Tensor) -> Tensor:
    """Return as many images of smooth shapes that are filled with a smooth texture and noise, shape of the images."""
    generator = torch.Generator().manual_seed(0)
    sides = like.shape[2:]

    def smooth(side: int, mode: str) -> Tensor:
        coarse = torch.rand(len(like), 1, side, side, generator=generator)
        return F.interpolate(coarse, sides, mode=mode, align_corners=False)

    place = torch.linspace(-1, 1, SIDE)
    is_inside = 4 * smooth(5, "bicubic") - 2 * (place[:, None].square() + place.square()) > 0.8
    noise = torch.randn(like.shape, generator=generator)
    return is_inside * (60 + 150 * smooth(14, "bilinear") + 10 * noise).clamp(1, 255)


CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "unchanged": lambda levels: levels,
    "inverted": lambda levels: 255 - levels,
    "shifted by half a pixel": lambda levels: (levels + F.pad(levels, (1, 0))[..., :-1]) / 2,
    "textured blobs": textured_blobs,
    "power 0.7": lambda levels: 255 * (levels / 255) ** 0.7,
    "dimmed to 60%": lambda levels: 0.6 * levels,
}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", nargs="?", default="pretrained:hierarchical-base")
    parser.add_argument("--images", type=int, default=100)
    options = parser.parse_args()
    flows = {name: with_prior(options.checkpoint, name) for name in PRIORS}
    levels = levels_of(flows["none"][1], "validation", options.images).float()
    for name, change in CHANGES.items():
        changed = change(levels).round().to(torch.uint8)
        bpd = {prior: sum(bits(flow, changed)) for prior, (flow, _) in flows.items()}
        print(f"{name}: {', '.join(f'{value:.4f} with {prior}' for prior, value in bpd.items())}", flush=True)
        add_row(RESULT, name, {"checkpoint": options.checkpoint, "n_images": options.images, **bpd, **machine()})


if __name__ == "__main__":
    main()
