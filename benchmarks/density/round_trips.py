"""Do images come back from their latents? ``python -m benchmarks.density.round_trips CKPT [--images 70000]``.

Counts of how many of the training and test images, in a random order, the levels are recovered exactly from latents in
float32. All 70,000 take an hour on one core. So the row in ``results/round_trips.json``, which has the name of the
checkpoint, is written after every part of them, and the same command goes on where the last one ended.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.measuring import Metrics, add_row, machine, rows_of
from nf_mnist.app.composing import instantiate
from nf_mnist.app.trained import load_trained
from nf_mnist.bijectors.quantile_map import N_LEVELS
from nf_mnist.checkpoints.checksums import sha256
from nf_mnist.checkpoints.pretrained import checkpoint_path
from nf_mnist.data import to_levels
from nf_mnist.flows import Flow

RESULT = Path(__file__).parents[2] / "results" / "round_trips.json"
N_IMAGES, PART = 70_000, 250


@torch.no_grad()
def n_unchanged(flow: Flow, levels: Tensor) -> int:
    """Return how many images, with levels of shape (batch, *event), are recovered exactly from their latents."""
    decoded = to_levels(flow.decode(flow.encode((levels + 0.5) / N_LEVELS)))
    return int((decoded == levels).flatten(1).all(1).sum())


def count(flow: Flow, levels: Tensor, n: int, result: Path, name: str, checksum: str) -> Metrics:
    """Count the first n images in a random order, going on after those that a row of results has counted.

    Args:
        flow: An unconditional flow in evaluation mode.
        levels: All images, shape (images, *event).
        n: Number of images to have counted in the end.
        result: File of results.
        name: Name of the row.
        checksum: That of the weights; the counts of others are dropped.

    Returns:
        The row: how many images were looked at, and how many of them were recovered.
    """
    row = rows_of(result).get(name, {})
    if row.get("sha256") != checksum:
        row = {"n_images": 0, "n_exact": 0, "sha256": checksum, **machine()}
    order = torch.randperm(len(levels), generator=torch.Generator().manual_seed(0))[:n]
    while row["n_images"] < len(order):
        part = order[row["n_images"] :][:PART]
        n_exact = row["n_exact"] + n_unchanged(flow, levels[part])
        row = {**row, "n_images": row["n_images"] + len(part), "n_exact": n_exact}
        add_row(result, name, row)
        print(f"{row['n_exact']} of {row['n_images']} images come back with the same levels", flush=True)
    return row


def main() -> None:
    """Count, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint")
    parser.add_argument("--images", type=int, default=N_IMAGES)
    options = parser.parse_args()
    flow, _, cfg, _ = load_trained(options.checkpoint)
    levels = torch.cat([part.levels for part in instantiate(cfg.data.source)])
    checksum = sha256(checkpoint_path(options.checkpoint).read_bytes())
    count(flow, levels, options.images, RESULT, options.checkpoint, checksum)


if __name__ == "__main__":
    main()
