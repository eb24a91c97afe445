"""What does logging cost? ``python -m benchmarks.speed.logging_cost [--repeats 5]``.

Measures two costs, each as a share of the shipped flow's training. The time of callbacks and loggers in a step does not
depend on the model, so it is the difference between a tiny flow's steps with and without them. The time of the pictures
and checks at a validation is compared with the steps between two validations.
"""

import argparse
import tempfile
import time
from pathlib import Path

import lightning as L
from lightning.pytorch.profilers import SimpleProfiler

from benchmarks.measuring import (
    Metrics,
    default_device,
    machine,
    seconds_per_call,
    shipped_configuration,
    spread,
    training_step,
)
from nf_mnist.app.building import build_datamodule, build_module, build_trainer
from nf_mnist.checkpoints.writing import write_json
from nf_mnist.training.lookup import all_callbacks

RESULT = Path(__file__).parents[2] / "results" / "logging_cost.json"
TINY = ["model.flow.n_scales=2", "model.flow.hidden_channels=4", "model.flow.mlp_features=4"]
BARE = ["~callbacks", "~logger", "+trainer.enable_checkpointing=false", "+trainer.enable_progress_bar=false"]
N_FIRST = 20  # steps that do not count


class Clock(L.Callback):
    """Record the time at the end of each step."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_batch_end(self, *_: object) -> None:
        self.ends.append(time.perf_counter())

    def seconds_per_step(self) -> float:
        """Return the mean time of the steps after the warm-up, which spreads out what is logged every few steps."""
        ends = self.ends[N_FIRST:]
        return (ends[-1] - ends[0]) / (len(ends) - 1)


def seconds_of_tiny_step(overrides: list[str], n_steps: int) -> float:
    """Train a tiny flow without validation; return the seconds per step."""
    with tempfile.TemporaryDirectory() as folder:
        settings = [*TINY, f"trainer.max_steps={N_FIRST + n_steps}", *overrides]
        cfg = shipped_configuration([*settings, f"output_dir={folder}", f"run_dir={folder}"])
        data, clock = build_datamodule(cfg), Clock()
        data.setup()
        trainer = build_trainer(cfg)
        trainer.limit_val_batches = 0
        all_callbacks(trainer).append(clock)
        trainer.fit(build_module(cfg), datamodule=data)
        return clock.seconds_per_step()


def seconds_of_views() -> float:
    """Validate the shipped flow once; return the seconds that callbacks take at its end."""
    with tempfile.TemporaryDirectory() as folder:
        settings = ["trainer.limit_val_batches=4", "+trainer.profiler=simple"]
        cfg = shipped_configuration([*settings, f"output_dir={folder}", f"run_dir={folder}"])
        data = build_datamodule(cfg)
        data.setup()
        trainer = build_trainer(cfg)
        trainer.validate(build_module(cfg), datamodule=data, verbose=False)
        profiler: SimpleProfiler = trainer.profiler  # type: ignore[attr-defined]  # Lightning does not declare it
        durations = profiler.recorded_durations
        return sum(sum(taken) for name, taken in durations.items() if name.endswith(".on_validation_epoch_end"))


def compare(repeats: int, n_steps: int) -> Metrics:
    """Return the costs in seconds and as shares."""
    variants = {"with": [], "without": BARE}
    found = [
        {name: seconds_of_tiny_step(overrides, n_steps) for name, overrides in variants.items()} for _ in range(repeats)
    ]
    step = training_step([])
    step()
    of_step = spread([seconds_per_call(step, 2, default_device()) for _ in range(repeats)])
    logging = spread([each["with"] - each["without"] for each in found])
    views = spread([seconds_of_views() for _ in range(2)])
    between = shipped_configuration([]).trainer.val_check_interval * of_step["median"]
    return {
        "seconds_per_step": of_step,
        "seconds_of_logging_per_step": logging,
        "seconds_of_views_per_validation": views,
        "share_of_logging": logging["median"] / of_step["median"],
        "share_of_views": views["median"] / between,
    }


def main() -> None:
    """Measure and write the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    metrics = compare(options.repeats, options.steps)
    print(f"logging {metrics['share_of_logging']:.1%} of a step, views {metrics['share_of_views']:.1%} of a training")
    write_json(options.out, {**machine(), "model": "resflow", **metrics})


if __name__ == "__main__":
    main()
