"""What is each part of ``hierarchical`` worth? ``python -m benchmarks.density.ablation [--variants NAME ...]``.

Trains each variant for the same time (``--minutes 3``), one after another, and measures it on validation images. Adds a
row for each to ``results/density_ablation.json``. Rows can be compared only with rows of the same minutes and hardware;
variants that have such a row are skipped.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.measuring import SMALL_RESFLOW, add_row, rows_of, time_budget
from nf_mnist.checkpoints.reading import read_checkpoint
from nf_mnist.checkpoints.records import training_record
from nf_mnist.hardware import describe

RESULT = Path(__file__).parents[2] / "results" / "density_ablation.json"
TRAIN = ("nf_mnist.train",)
HIERARCHICAL = ["experiment=hierarchical_1h"]
AFFINE = [*SMALL_RESFLOW, "data.batch_size=64", "trainer.limit_val_batches=4", "trainer.gradient_clip_val=200"]
HOUR = "init_from=outputs/hierarchical_1h/checkpoints/best.ckpt"  # trained with output_dir=outputs/hierarchical_1h
TRAINED_ON = [*HIERARCHICAL, HOUR, "optimizer.lr=5e-4", "optimizer.matrix_lr=0.005"]
VARIANTS = {
    "hierarchical": HIERARCHICAL,
    "no logistics at known levels": [*HIERARCHICAL, "model.flow.n_references=0", "model.flow.n_frequent=0"],
    "AdamW instead of Muon": [*HIERARCHICAL, "optimizer=adamw"],
    "conditioned on the class": [*HIERARCHICAL, "model.flow.n_classes=10"],
    "4 logistics at frequent levels": [*HIERARCHICAL, "model.flow.n_frequent=4"],
    "4 groups of the last 7x7": [*HIERARCHICAL, "model.flow.n_groups=4"],
    "16 groups of the last 7x7": [*HIERARCHICAL, "model.flow.n_groups=16"],
    "one scale: 14x14 in 16 groups": [*HIERARCHICAL, "model.flow.n_scales=1", "model.flow.n_groups=16"],
    "affine couplings after gaussianize": AFFINE,
    "affine couplings after logit": [*AFFINE, "model.preprocess=logit"],
    "trained on after an hour": TRAINED_ON,
    "trained on, weight decay 0.2": [*TRAINED_ON, "optimizer.weight_decay=0.2"],
    "trained on, averaged weights": [*TRAINED_ON, "callbacks=ema"],
}


def train(module: Sequence[str], overrides: list[str], minutes: float, folder: Path) -> dict[str, Any]:
    """Train a variant with the command of a module and return its metrics on validation images."""
    settings = [
        "trainer.val_check_interval=100000",
        "evaluation.split=validation",
        "evaluation.n_draws=1",
        f"output_dir={folder}",
        "logger.tensorboard=null",
    ]
    subprocess.run([sys.executable, "-m", *module, *overrides, time_budget(minutes), *settings], check=True)
    return json.loads((folder / "metrics.json").read_text())


def add_variant(out: Path, name: str, overrides: list[str], minutes: float, module: Sequence[str] = TRAIN) -> None:
    """Train a variant and add its row, unless there is one of the same minutes and hardware.

    Args:
        out: File of results.
        name: Name of the variant.
        overrides: Overrides of the training.
        minutes: Time of the training.
        module: Module that trains, and what it takes before overrides.
    """
    key = f"{name}, {minutes:g} min, {describe()}"
    if key in rows_of(out):
        return
    with tempfile.TemporaryDirectory() as folder:
        metrics = train(module, overrides, minutes, Path(folder) / "run")
        images = training_record(read_checkpoint(Path(folder) / "run" / "checkpoints" / "best.ckpt"))["images"]
    measured = {key: metrics[key] for key in ("bpd", "parameters", "n_images", "hardware")}
    settings = {"minutes": minutes, "seed": 0, "overrides": " ".join(overrides)}
    add_row(out, key, {"variant": name, **settings, "images": images, **measured})
    print(f"{name}: {metrics['bpd']:.4f} bpd, {metrics['parameters']:,} parameters", flush=True)


def main() -> None:
    """Train the variants that are missing, and add their rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="NAME")
    options = parser.parse_args()
    for name in options.variants:
        add_variant(RESULT, name, VARIANTS[name], options.minutes)


if __name__ == "__main__":
    main()
