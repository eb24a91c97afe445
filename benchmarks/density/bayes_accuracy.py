"""How well does a flow with labels classify? ``python -m benchmarks.density.bayes_accuracy NAME CKPT``.

The class of an image is chosen by Bayes' rule, as ``python -m nf_mnist.evaluate classify=true`` chooses it. The
tolerance of a continuous flow's solver may be larger, ``--tolerance 1e-2``, which takes less time. Writes a row into
``results/bayes_accuracy.json``.
"""

import argparse
import math
from pathlib import Path

from benchmarks.measuring import add_row, machine
from nf_mnist.app.classification import classify_images
from nf_mnist.app.evaluation import load_evaluation_task
from nf_mnist.bijectors import OdeSolver
from nf_mnist.errors import ConfigError
from nf_mnist.flows import ContinuousFlow, Flow

RESULT = Path(__file__).parents[2] / "results" / "bayes_accuracy.json"


def set_tolerance(flow: Flow, tolerance: float) -> None:
    """Let a continuous flow solve its equation with another tolerance.

    Raises:
        ConfigError: If the flow solves no equation.
        SettingError: If the tolerance is not above 0.
    """
    if not isinstance(flow, ContinuousFlow):
        raise ConfigError(f"--tolerance is for continuous flows; {type(flow).__name__} solves no equation")
    flow.map.solver = OdeSolver(tolerance, max_evaluations=flow.map.solver.max_evaluations)


def main() -> None:
    """Classify images, print the accuracy, and write the row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("ckpt")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--draws", type=int, default=1)
    parser.add_argument("--tolerance", type=float)
    parser.add_argument("--split", choices=("validation", "test"), default="test")
    parser.add_argument("--batch-size", type=int, default=50)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    settings = {
        "split": options.split,
        "n_images": options.images,
        "n_draws": options.draws,
        "batch_size": options.batch_size,
        "seed": 0,
    }
    task = load_evaluation_task(options.ckpt, settings)
    if options.tolerance is not None:
        set_tolerance(task.flow, options.tolerance)
    found = classify_images(task)
    accuracy = found["flow"]["accuracy"]
    row = {
        "model": options.name,
        "checkpoint": options.ckpt,
        "split": options.split,
        "n_draws": options.draws,
        "tolerance": options.tolerance,
        "standard_error": math.sqrt(accuracy * (1 - accuracy) / found["n_images"]),
        "training": task.record,
        **machine(),
        **found,
    }
    key = f"{options.name}, {options.split}, {found['n_images']} images, {options.draws} draws"
    if options.tolerance is not None:
        key += f", tolerance {options.tolerance:g}"
    add_row(options.out, key, row)
    print(f"{key}: {accuracy:.2%} +- {row['standard_error']:.2%}", flush=True)


if __name__ == "__main__":
    main()
