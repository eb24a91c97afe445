"""Commands of nf_mnist, run as users run them."""

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.gpu.parts import Plan

# Small sizes for a rehearsal on a CPU.
SMALL = {
    "resflow": ["model.flow.n_scales=2", "model.flow.hidden_channels=4", "model.flow.mlp_features=4"],
    "glow": ["model.flow.n_scales=1", "model.flow.n_steps=2", "model.flow.hidden_channels=4"],
    "hierarchical": [
        "model.flow.n_scales=1",
        "model.flow.channels=4",
        "model.flow.n_blocks=1",
        "model.flow.transformer_features=8",
        "model.flow.transformer_blocks=1",
    ],
    "tarflow": [
        "model.flow.patch_size=7",
        "model.flow.n_autoregressions=2",
        "model.flow.transformer_features=8",
        "model.flow.transformer_blocks=1",
    ],
}
VIEWS = ("samples", "radius", "moments", "projection", "round_trip", "inpainting", "health")
SECONDS_TO_STOP = 15
BARE = [*(f"callbacks.{view}=null" for view in VIEWS), "logger.tensorboard=null"]  # without views


def model(name: str, plan: Plan) -> list[str]:
    """Return the overrides of a model on the device of a plan; small ones in a rehearsal."""
    if not plan.rehearse:
        return [f"model={name}", "trainer=gpu"]
    return [f"model={name}", *SMALL[name], "trainer=cpu", "data.n_validation=16", "trainer.limit_val_batches=1"]


def run(name: str, overrides: Sequence[str], plan: Plan) -> float:
    """Run ``python -m nf_mnist.NAME OVERRIDES``; return the seconds that it took.

    A command that would outlast the plan is told to stop, and so stops the runs of its sweep.

    Raises:
        RuntimeError: With the last line that it printed, if it fails.
    """
    command, begin = [sys.executable, "-m", f"nf_mnist.{name}", *overrides], time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            printed, _ = process.communicate(timeout=plan.deadline - time.time() - SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            process.terminate()
            printed, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(next(reversed(printed.strip().splitlines()), f"it ended with status {process.returncode}"))
    return time.monotonic() - begin


def last(folder: Path) -> Path:
    """Return the last checkpoint of a run."""
    return folder / "checkpoints" / "last.ckpt"
