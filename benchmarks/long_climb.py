"""Error against steps: ``python benchmarks/long_climb.py [CKPT] [--steps 20 100 ...] [--images 25]``.

Completes the lower halves of official test images (those that the table of inpainting begins with) by ``method=mode``
with ever more steps, and writes squared errors and log-probabilities into ``results/long_climb.json``. Counts that are
there already are not climbed again.
"""

import argparse
from functools import partial
from pathlib import Path

import torch
from omegaconf import OmegaConf

from measuring import add_row, machine, rows_of
from nf_mnist.config import config_dir, instantiate, load_flow
from nf_mnist.data import DEQUANTIZERS, evaluation_noise, random_subset
from nf_mnist.inpainting import corrupt, make_observed, measure
from nf_mnist.training.hardware import autocast_of, resolve_precision

RESULT = Path(__file__).parent.parent / "results" / "long_climb.json"
MASK, SEED = "lower", 0


def main() -> None:
    """Climb with each number of steps that is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ckpt", nargs="?", default="pretrained:resflow")
    parser.add_argument("--steps", nargs="+", type=int, default=[20, 100, 1000])
    parser.add_argument("--images", type=int, default=25)
    parser.add_argument("--precision", default="auto")
    given = parser.parse_args()
    flow, cfg = load_flow(given.ckpt)
    flow.requires_grad_(False)
    sample, index = random_subset(instantiate(cfg.data.source).test, given.images, SEED)
    noise = evaluation_noise(index, flow.event_shape, 0, SEED)
    truth, _ = DEQUANTIZERS[cfg.data.dequantizer]()(sample.levels, noise)
    observed, precision = make_observed(MASK, flow.event_shape, SEED), resolve_precision(given.precision, "cpu")
    corrupted = corrupt(truth, observed, "cp3", torch.Generator().manual_seed(SEED))
    error = (corrupted - truth).square().flatten(1).sum(1).mean().item()
    mode = instantiate(OmegaConf.load(Path(config_dir()) / "method" / "mode.yaml"))
    for n_steps in given.steps:
        key = f"{cfg.name} {MASK} mode, {n_steps} steps"
        if key in rows_of(RESULT):
            continue
        method = partial(mode, n_steps=n_steps)
        generator = torch.Generator().manual_seed(SEED)
        with autocast_of(precision, truth.device):
            measured = measure(method, flow, truth, observed, n_samples=1, batch_size=given.images, generator=generator)
        figures = {name: values.double().mean().item() for name, values in measured.figures.items()}
        about = {"checkpoint": given.ckpt, "seed": SEED, "precision": precision, "n_images": given.images}
        row = {**machine(), **about, "corrupted": error, **figures, "seconds_per_image": measured.seconds / len(truth)}
        add_row(RESULT, key, row)
        print(f"{key}: error {row['squared_error']:.1f} of {error:.1f} corrupted", flush=True)


if __name__ == "__main__":
    main()
