"""How many samples have the grey levels of one m: ``python -m benchmarks.density.sampled_levels [CKPT]``.

An image fits if some side m of its bilevel source, some white and some place of its window explain all its levels
better than the neutral state does, which knows the overall histogram alone. Real test images are counted beside the
samples, and samples of a hierarchy without a level prior beside those with it. The rows in
``results/sampled_levels.json`` have the names of the weights and the prior.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.density.bits_by_kind import sides_of
from benchmarks.density.level_prior import levels_of, priors_of, with_prior
from benchmarks.measuring import add_row, machine
from nf_mnist.data import to_levels

RESULT = Path(__file__).parents[2] / "results" / "sampled_levels.json"
BATCH = 64


def share_that_fits(levels: Tensor) -> float:
    """Return the share of images, shape (n, 1, 28, 28), whose levels one m explains."""
    return (sides_of(levels) > 0).float().mean().item()


@torch.no_grad()
def main() -> None:
    """Sample, count, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", nargs="?", default="pretrained:hierarchical-base")
    parser.add_argument("--samples", type=int, default=256)
    options = parser.parse_args()
    for level_prior in priors_of(options.checkpoint):
        flow, cfg = with_prior(options.checkpoint, level_prior)
        generator = torch.Generator().manual_seed(0)
        sizes = [len(part) for part in torch.arange(options.samples).split(BATCH)]
        samples = torch.cat([to_levels(flow.sample(size, generator=generator)) for size in sizes])
        row = {
            "n_samples": options.samples,
            "samples": share_that_fits(samples),
            "test_images": share_that_fits(levels_of(cfg, "test", options.samples)),
            **machine(),
        }
        print(f"level_prior={level_prior}: {row['samples']:.1%} of samples, {row['test_images']:.1%} of test images")
        add_row(RESULT, f"{options.checkpoint} {level_prior}", row)


if __name__ == "__main__":
    main()
