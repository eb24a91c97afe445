"""Commands of nf_mnist, run as users run them."""

import os
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
BARE = [*(f"callbacks.{view}=null" for view in VIEWS), "logger.tensorboard=null"]  # without views


def model(name: str, plan: Plan) -> list[str]:
    """Return the overrides of a model on the device of a plan; small ones in a rehearsal."""
    if not plan.rehearse:
        return [f"model={name}", "trainer=gpu"]
    return [f"model={name}", *SMALL[name], "trainer=cpu", "data.n_validation=16", "trainer.limit_val_batches=1"]


def run(name: str, overrides: Sequence[str], plan: Plan) -> float:
    """Run ``python -m nf_mnist.NAME OVERRIDES``; return the seconds that it took.

    Raises:
        RuntimeError: With the last line that it printed, if it fails.
    """
    command, begin = [sys.executable, "-m", f"nf_mnist.{name}", *overrides], time.monotonic()
    hidden = {"CUDA_VISIBLE_DEVICES": ""} if plan.rehearse else {}
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **hidden})
    if done.returncode:
        lines = (done.stdout + done.stderr).strip().splitlines()
        raise RuntimeError(lines[-1] if lines else f"nf_mnist.{name} ended with status {done.returncode}")
    return time.monotonic() - begin


def last(folder: Path) -> Path:
    """Return the last checkpoint of a run."""
    return folder / "checkpoints" / "last.ckpt"
