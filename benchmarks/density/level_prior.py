"""What a level prior is worth without training: ``python -m benchmarks.density.level_prior [CKPT] [--images 200]``.

The weights of a hierarchy that was trained without it are loaded into one with it, where the prior counts as much as
the networks (gamma = 1). Bits per dimension are split by coupling, fine to coarse. ``--split test --images 10000``
measures all official test images. ``--mask lower`` measures the bits of the hidden half of a flow that is conditioned
on the other half. The row in ``results/level_prior.json`` has the name of the weights, the split and the mask.
"""

import argparse
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from benchmarks.density.bits_by_coupling import bits
from benchmarks.measuring import add_row, machine
from nf_mnist.app.building.flow import build_flow
from nf_mnist.app.composing import instantiate
from nf_mnist.checkpoints.reading import load_weights, read_checkpoint
from nf_mnist.data import random_subset, split
from nf_mnist.data.regions import HALVES, region
from nf_mnist.data.resampling import SIDE
from nf_mnist.flows import Flow

RESULT = Path(__file__).parents[2] / "results" / "level_prior.json"
SPLITS = ("validation", "test")


def with_prior(checkpoint: str, level_prior: str) -> tuple[Flow, DictConfig]:
    """Return the flow of a checkpoint with another level prior, and the checkpoint's configuration with it.

    Palettes that the checkpoint lacks are fitted to its training images.
    """
    read = read_checkpoint(checkpoint)
    cfg = OmegaConf.create(read["config"])
    OmegaConf.update(cfg, "model.flow.level_prior", level_prior, force_add=True)
    cfg.model.compile = False
    flow = build_flow(cfg.model)
    if level_prior == "palettes":
        images = instantiate(cfg.data.source).train
        flow.bijector.fit(split(images, cfg.data.n_validation, cfg.data.split_seed)[1].levels)
    load_weights(flow, read, checkpoint)
    return flow.eval(), cfg


def priors_of(checkpoint: str) -> tuple[str, ...]:
    """Return the level priors that the weights of a checkpoint can have: its own, if it was trained with one."""
    own = read_checkpoint(checkpoint)["config"]["model"]["flow"].get("level_prior", "none")
    return ("none", "resampled", "palettes") if own == "none" else (own,)


def levels_of(cfg: DictConfig, name: str, n: int) -> Tensor:
    """Return the levels of a seeded random sample of n images of a split, of the data that a flow was trained on."""
    image_set = instantiate(cfg.data.source)
    if name == "test":
        return random_subset(image_set.test, n, seed=0)[0].levels
    return split(image_set.train, cfg.data.n_validation, cfg.data.split_seed)[0].levels[:n]


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", nargs="?", default="pretrained:hierarchical-base")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--split", choices=SPLITS, default="validation")
    parser.add_argument("--mask", choices=HALVES)
    options = parser.parse_args()
    observed = None if options.mask is None else ~region(options.mask, SIDE, SIDE)
    asked = {"checkpoint": options.checkpoint, "split": options.split, "mask": options.mask}
    row = {**asked, "n_images": options.images, **machine()}
    for level_prior in priors_of(options.checkpoint):
        flow, cfg = with_prior(options.checkpoint, level_prior)
        parts = bits(flow, levels_of(cfg, options.split, options.images), observed)
        row[level_prior] = {"bpd": sum(parts), "by_coupling": parts}
        print(f"{level_prior}: {sum(parts):.4f} = {' + '.join(f'{part:.4f}' for part in parts)}", flush=True)
        add_row(RESULT, " ".join(filter(None, asked.values())), row)


if __name__ == "__main__":
    main()
