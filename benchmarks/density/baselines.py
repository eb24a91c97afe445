"""Compare all models at an equal budget of time: ``python -m benchmarks.density.baselines [--minutes 5]``.

Trains each model by its own recipe, but in batches of 64, for the same time on one thread. Measures the checkpoint that
validates best: the likelihood of all official test images, or of a random sample where a likelihood takes many passes,
and the quality of samples at temperature 1.0. Writes ``results/baselines.json`` after each model; models that are there
with the same budget are skipped. ``--models NAME`` selects models, and several commands may run at once, each on a core
of its own; ``--seeds 0 1 2 --out results/seeds.json`` adds a row for each seed.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.measuring import SMALL_RESFLOW, add_row, rows_of, time_budget

RESULT = Path(__file__).parents[2] / "results" / "baselines.json"
MODELS = {
    "nice": [],
    "maf": [],
    "iaf": [],
    "residual_flow": ["model=residual_flow", "data.eval_batch_size=50"],
    "realnvp": [],
    "glow": [],
    "spline": [],
    "tarflow": [],
    "jet": [],
    "flow_matching": ["model=flow_matching", "data.eval_batch_size=10"],
    "ffjord": ["model=ffjord", "data.eval_batch_size=10"],
    "uva_simple": [],
    "uva_vardeq": [],
    "uva_multiscale": [],
    "resflow": [],
    "resflow_double_tanh": [],
    "cp3": [],
    "hierarchical": [],
    "conditional": [],
    "resflow_small": SMALL_RESFLOW,
}
N_IMAGES = {"flow_matching": 200, "ffjord": 200, "iaf": 1000, "residual_flow": 1000}  # all test images for other models
RECIPE = [
    "data.batch_size=64",
    "trainer.gradient_clip_val=200",
    "trainer.val_check_interval=200",
    "trainer.limit_val_batches=2",
]
QUALITY = ("frechet_distance", "precision", "recall", "class_kl", "confident_share")


def measure(name: str, seed: int, minutes: float, n_samples: int, folder: Path) -> dict[str, Any]:
    """Train a model and return its metrics on test images."""
    overrides = recipe(name, seed, minutes)
    best = train(overrides, folder / "run")
    # Models with random dequantization noise get one draw: more of them change the mean by less than the seed does.
    quality = ["quality=true", f"samples.n={n_samples}", "samples.temperatures=[1.0]"]
    evaluation = [f"ckpt={best}", "evaluation.split=test", *quality]
    evaluation += ["evaluation.n_draws=1", "evaluation.batch_size=500", "evaluation.seed=0"]
    evaluation += [f"evaluation.n_images={N_IMAGES.get(name, 'null')}"]
    evaluation += [f"out={folder}/metrics.json", f"output_dir={folder}"]
    run_command("evaluate", evaluation)
    metrics = json.loads((folder / "metrics.json").read_text())
    at_one = metrics["quality"]["temperatures"][0]
    return {
        "model": name,
        "seed": seed,
        "minutes": minutes,
        "overrides": " ".join(overrides),
        **{key: metrics[key] for key in ("bpd", "bpd_standard_error", "parameters", "n_images", "training")},
        **{key: at_one[key] for key in QUALITY},
        "n_samples": n_samples,
        "n_nan": at_one["n_nan"],
        "milliseconds_per_64_samples": 64_000 * at_one["seconds"] / n_samples,
        "floor": {key: metrics["quality"]["training_images"][key] for key in QUALITY},
    }


def recipe(name: str, seed: int, minutes: float) -> list[str]:
    """Return the overrides of the train command that train a model for a number of minutes."""
    return [*(MODELS[name] or [f"model={name}"]), *RECIPE, time_budget(minutes), f"seed={seed}"]


def train(overrides: list[str], run: Path) -> Path:
    """Train on one thread; return the checkpoint that validates best."""
    run_command("train", [*overrides, "evaluation=null", f"output_dir={run}", "logger.tensorboard=null"])
    return run / "checkpoints" / "best.ckpt"


def run_command(name: str, overrides: list[str]) -> None:
    """Run a command of nf_mnist on one thread."""
    command = [sys.executable, "-m", f"nf_mnist.{name}", *overrides]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def main() -> None:
    """Measure the missing models, one by one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    for seed in options.seeds:
        for name in options.models:
            key = f"{name}, seed {seed}"
            there = rows_of(options.out).get(key, {})
            if (there.get("minutes"), there.get("n_samples")) == (options.minutes, options.samples):
                continue
            with tempfile.TemporaryDirectory() as folder:
                row = measure(name, seed, options.minutes, options.samples, Path(folder))
            add_row(options.out, key, row)
            print(f"{key}: {row['bpd']:.4f} bpd, Frechet distance {row['frechet_distance']:.1f}", flush=True)


if __name__ == "__main__":
    main()
