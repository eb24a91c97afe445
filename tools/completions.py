"""Draw completions of the same images by several methods: ``python -m tools.completions OUT.png [--mask lower]``.

The first row shows the corrupted images and the last row the true ones. The rows between are the completions that
``python -m benchmarks.inpainting.table`` left in ``outputs/inpainting_table``.
"""

import argparse
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from nf_mnist.data import mnist, random_subset
from nf_mnist.inpainting import corrupt, make_observed

COMPLETIONS = Path(__file__).parent.parent / "outputs" / "inpainting_table"
SEED, N_SHOWN = 0, 25  # the seed of the table, so that the same images are shown


def rows(mask: str) -> dict[str, Tensor]:
    """Return the rows to show by name: levels of images, each of shape (N_SHOWN, 1, height, width).

    Methods that completed fewer images are left out.
    """
    truth = random_subset(mnist().test, N_SHOWN, SEED)[0].levels
    observed = make_observed(mask, tuple(truth.shape[1:]), SEED)
    corrupted = corrupt(truth / 255, observed, "gaussian_noise", torch.Generator().manual_seed(SEED))
    found = {}
    for path in sorted(COMPLETIONS.glob(f"* {mask} *.pt")):
        model, _, method = path.stem.split()
        levels = torch.load(path, weights_only=True)
        if len(levels) >= N_SHOWN:
            found[f"{model}\n{method}"] = levels[:N_SHOWN]
    return {"corrupted": (255 * corrupted).round(), **found, "truth": truth}


def picture(shown: dict[str, Tensor]) -> Figure:
    """Draw a row of images for each name."""
    figure = Figure(figsize=(14, 0.55 * len(shown)), layout="constrained")
    for axes, (name, levels) in zip(figure.subplots(len(shown), 1), shown.items(), strict=True):
        axes.imshow(levels.squeeze(1).permute(1, 0, 2).flatten(1), cmap="gray", vmin=0, vmax=255)
        axes.set_yticks([])
        axes.set_xticks([])
        axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
    return figure


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--mask", default="lower")
    options = parser.parse_args()
    picture(rows(options.mask)).savefig(options.out, dpi=100)
