"""What a level prior is worth without training: ``python -m benchmarks.density.level_prior [CKPT] [--images 200]``.

The weights of a hierarchy that was trained without it are loaded into one with it, where the prior counts as much as
the networks (gamma = 1). Bits per dimension are split by coupling, fine to coarse, on validation images.
"""

import argparse

import torch
from omegaconf import OmegaConf

from benchmarks.density.bits_by_coupling import bits
from nf_mnist.app.building.flow import build_flow
from nf_mnist.app.composing import instantiate
from nf_mnist.checkpoints.reading import load_weights, read_checkpoint
from nf_mnist.data import split
from nf_mnist.flows import Flow


def with_prior(checkpoint: str, level_prior: str) -> tuple[Flow, torch.Tensor]:
    """Return the flow of a checkpoint with another level prior, and its validation images as levels."""
    read = read_checkpoint(checkpoint)
    cfg = OmegaConf.create(read["config"])
    OmegaConf.update(cfg, "model.flow.level_prior", level_prior, force_add=True)
    cfg.model.compile = False
    flow = build_flow(cfg.model)
    load_weights(flow, read, checkpoint)
    validation, _ = split(instantiate(cfg.data.source).train, cfg.data.n_validation, cfg.data.split_seed)
    return flow.eval(), validation.levels


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", nargs="?", default="pretrained:hierarchical-base")
    parser.add_argument("--images", type=int, default=200)
    arguments = parser.parse_args()
    for level_prior in ("none", "resampled"):
        flow, levels = with_prior(arguments.checkpoint, level_prior)
        parts = bits(flow, levels[: arguments.images])
        print(f"{level_prior}: {sum(parts):.4f} = {' + '.join(f'{part:.4f}' for part in parts)}", flush=True)


if __name__ == "__main__":
    main()
