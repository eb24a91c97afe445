"""How good are samples, over seeds? ``python -m benchmarks.density.drawn_samples NAME CKPT [--guidance W]``.

Draws samples of a checkpoint at temperature 1.0 for each seed and compares them with as many test images, as
``python -m nf_mnist.evaluate quality=true`` does. Writes a row for each seed into ``results/drawn_samples.json``, and
skips rows that it already holds of as many samples.
"""

import argparse
from pathlib import Path

from benchmarks.measuring import add_row, machine, rows_of
from nf_mnist.app.evaluation import load_evaluation_task
from nf_mnist.app.sample_quality import evaluate_samples

RESULT = Path(__file__).parents[2] / "results" / "drawn_samples.json"
EVALUATION = {"split": "test", "n_draws": 1, "batch_size": 500, "seed": 0}


def main() -> None:
    """Measure the seeds that the results lack."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("ckpt")
    parser.add_argument("--guidance", type=float, default=0.0)
    parser.add_argument("--denoise", action="store_true")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    task = load_evaluation_task(options.ckpt, EVALUATION)
    parts = [f"`{options.name}`", f"guidance {options.guidance:g}" if options.guidance else ""]
    label = ", ".join(filter(None, [*parts, "denoised" if options.denoise else ""]))
    for seed in options.seeds:
        key = f"{label}, seed {seed}"
        there = rows_of(options.out).get(key, {"quality": {}})["quality"]
        if there.get("n_samples") == options.samples:
            continue
        settings = {
            "n": options.samples,
            "temperatures": [1.0],
            "batch_size": 250,
            "seed": seed,
            "precision": options.precision,
            "guidance": options.guidance,
            "attention_temperature": None,
            "denoise": options.denoise,
        }
        quality, _ = evaluate_samples(task, settings)
        row = {"label": label, "checkpoint": options.ckpt, "training": task.record, "quality": quality}
        add_row(options.out, key, {**machine(), **row})
        found = quality["temperatures"][0]
        print(
            f"{key}: Frechet distance {found['frechet_distance']:.2f}, {found['confident_share']:.1%} confident",
            flush=True,
        )


if __name__ == "__main__":
    main()
