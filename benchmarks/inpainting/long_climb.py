"""Error of a climb against its steps: ``python -m benchmarks.inpainting.long_climb [CKPT] [--steps 20 100 ...]``.

Completes the lower halves of official test images by ``method=mode`` with ever more steps, and writes squared errors
and log-probabilities to ``results/long_climb.json``. The images are those with which the table of inpainting begins;
``--images 25`` says how many. Numbers of steps that are in the file are skipped.
"""

import argparse
from functools import partial
from pathlib import Path

import torch

from benchmarks.inpainting.table import SEED, shipped_method, squared_error
from benchmarks.measuring import add_row, machine, rows_of
from nf_mnist.app.composing import instantiate
from nf_mnist.app.trained import load_trained
from nf_mnist.diagnostics import make_batch
from nf_mnist.hardware import autocast_of, resolve_precision
from nf_mnist.inpainting import corrupt, make_observed, measure

RESULT = Path(__file__).parents[2] / "results" / "long_climb.json"
MASK = "lower"


def main() -> None:
    """Climb with each missing number of steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ckpt", nargs="?", default="pretrained:resflow")
    parser.add_argument("--steps", nargs="+", type=int, default=[1, 5, 10, 20, 50, 100, 1000])
    parser.add_argument("--images", type=int, default=25)
    options = parser.parse_args()
    flow, dequantizer, cfg, _ = load_trained(options.ckpt)
    flow.requires_grad_(False)
    test = instantiate(cfg.data.source).test
    truth = make_batch(flow, dequantizer, test, options.images, SEED).x
    observed, precision = make_observed(MASK, flow.event_shape, SEED), resolve_precision("auto", "cpu")
    corrupted = squared_error(corrupt(truth, observed, "gaussian_noise", torch.Generator().manual_seed(SEED)), truth)
    about = {"checkpoint": options.ckpt, "seed": SEED, "precision": precision, "n_images": options.images}
    for n_steps in options.steps:
        key = f"{cfg.name} {MASK} mode, {n_steps} steps"
        if key in rows_of(RESULT):
            continue
        method = partial(shipped_method("mode"), n_steps=n_steps)
        generator = torch.Generator().manual_seed(SEED)
        with autocast_of(precision, truth.device):
            found = measure(method, flow, truth, observed, n_samples=1, batch_size=options.images, generator=generator)
        metrics = {name: values.double().mean().item() for name, values in found.per_image.items()}
        add_row(RESULT, key, {**machine(), **about, "corrupted": corrupted, **metrics})
        print(f"{key}: error {metrics['squared_error']:.1f} of {corrupted:.1f} corrupted", flush=True)


if __name__ == "__main__":
    main()
