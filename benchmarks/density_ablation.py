"""What each part of ``hierarchical`` is worth: ``python benchmarks/density_ablation.py [--minutes 3]``.

Trains each variant for the same time, one after another, on this machine, and measures it on validation images. Writes
``results/density_ablation.json`` after each; variants that are there already are not trained again.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from measuring import time_budget
from nf_mnist.cli import write_json

RESULT = Path(__file__).parent.parent / "results" / "density_ablation.json"
HIERARCHICAL = ["experiment=hierarchical_1h"]
AFFINE = ["experiment=quickstart", "trainer.max_steps=-1", "trainer.gradient_clip_val=200"]
TRAINED_ON = [*HIERARCHICAL, "init_from=pretrained:hierarchical-base", "optimizer.lr=5e-4", "optimizer.matrix_lr=0.005"]
VARIANTS = {
    "hierarchical": HIERARCHICAL,
    "no logistics at known levels": [*HIERARCHICAL, "model.flow.n_references=0", "model.flow.n_frequent=0"],
    "AdamW instead of Muon": [*HIERARCHICAL, "optimizer=adamw"],
    "conditioned on the class": [*HIERARCHICAL, "model.flow.n_classes=10"],
    "4 groups of the last 7x7": [*HIERARCHICAL, "model.flow.n_groups=4"],
    "16 groups of the last 7x7": [*HIERARCHICAL, "model.flow.n_groups=16"],
    "one level: 14x14 in 16 groups": [*HIERARCHICAL, "model.flow.n_levels=1", "model.flow.n_groups=16"],
    "affine couplings after gaussianize": [*AFFINE, "model.preprocess=gaussianize"],
    "affine couplings after logit": [*AFFINE, "model.preprocess=logit"],
    "trained on from released weights": TRAINED_ON,
    "trained on, weight decay 0.2": [*TRAINED_ON, "optimizer.weight_decay=0.2"],
    "trained on, averaged weights": [*TRAINED_ON, "callbacks=ema"],
}


def train(overrides: list[str], minutes: float, folder: Path) -> dict[str, float]:
    """Train a variant and return its figures on validation images."""
    budget = time_budget(minutes)
    settings = [
        "evaluation.split=validation",
        "evaluation.n_draws=1",
        f"output_dir={folder}",
        "logger.tensorboard=null",
    ]
    command = [
        sys.executable,
        "-m",
        "nf_mnist.train",
        *overrides,
        budget,
        "trainer.val_check_interval=100000",
        *settings,
    ]
    subprocess.run(command, check=True)
    return json.loads((folder / "figures.json").read_text())


def main() -> None:
    """Train every variant, print the table and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=3.0)
    minutes = parser.parse_args().minutes
    rows = json.loads(RESULT.read_text())["variants"] if RESULT.exists() else {}
    for name, overrides in VARIANTS.items():
        if name in rows:
            continue
        with tempfile.TemporaryDirectory() as folder:
            figures = train(overrides, minutes, Path(folder) / "run")
        rows[name] = {key: figures[key] for key in ("bpd", "parameters", "n_images", "hardware")}
        rows[name]["overrides"] = " ".join(overrides)
        rows[name]["minutes"] = minutes
        write_json(RESULT, {"seed": 0, "variants": rows})
        print(f"{name}: {figures['bpd']:.4f} bpd, {figures['parameters']:,} parameters", flush=True)


if __name__ == "__main__":
    main()
