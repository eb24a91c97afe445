"""What the benchmarks share: timing, child processes that take turns, shipped training steps, rows of results."""

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig
from torch import Tensor

from nf_mnist.app.building import build_module
from nf_mnist.app.composing import config_dir
from nf_mnist.checkpoints.writing import write_json
from nf_mnist.data import draw_noise, mnist, random_subset
from nf_mnist.hardware import autocast_of, describe, keep_freed_memory, resolve_precision, synchronize

Metrics = dict[str, Any]
SMALL_RESFLOW = [
    "model=resflow",
    "model.preprocess=gaussianize",
    "model.norm=actnorm",
    "model.flow.hidden_channels=32",
    "model.flow.mlp_features=128",
    "optimizer=muon",
    "optimizer.adam=[]",
]


def seconds_per_call(call: Callable[[], object], n: int, device: torch.device, least_seconds: float = 0.0) -> float:
    """Return the median seconds of n calls, or of more that take some seconds together; each is waited for."""
    seconds: list[float] = []
    while len(seconds) < n or sum(seconds) < least_seconds:
        begin = time.perf_counter()
        call()
        synchronize(device)
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def default_device() -> torch.device:
    """Return the GPU if there is one, and the CPU otherwise."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def shipped_autocast(enabled: bool = True) -> torch.autocast:
    """Return the autocast of the train command: bfloat16 where the hardware gains."""
    device = default_device()
    return autocast_of(resolve_precision("auto" if enabled else "32-true", device.type), device)


def training_levels(n: int, seed: int = 0) -> Tensor:
    """Return the grey levels of a seeded random sample of the training images, shape (n, 1, 28, 28)."""
    return random_subset(mnist()[0], n, seed)[0].levels


def shipped_configuration(overrides: Sequence[str]) -> DictConfig:
    """Compose the configuration of ``python -m nf_mnist.train OVERRIDES``."""
    with initialize_config_dir(config_dir(), version_base="1.3"):
        return compose("train", ["name=bench", *overrides])


def training_step(overrides: Sequence[str], as_shipped: bool = True) -> Callable[[], None]:
    """Return a function that takes a training step of ``python -m nf_mnist.train OVERRIDES`` on one batch.

    Args:
        overrides: Overrides of the configuration.
        as_shipped: Whether to use the precision and memory settings of the train command on this machine, rather than
            plain float32.
    """
    if as_shipped:
        keep_freed_memory()
    cfg = shipped_configuration(overrides)
    module = build_module(cfg).to(default_device())
    optimizer = module.configure_optimizers()
    levels = training_levels(cfg.data.batch_size).to(default_device())

    def step() -> None:
        x, log_q = module.dequantizer(levels, draw_noise(levels))
        with shipped_autocast(as_shipped):
            _, log_prob = module.flow(x)
        optimizer.zero_grad()
        (log_q - log_prob).mean().backward()
        optimizer.step()

    return step


def time_budget(minutes: float) -> str:
    """Return the override that limits a training to a number of minutes."""
    whole, seconds = divmod(round(60 * minutes), 60)
    return f"trainer.max_time=00:{whole // 60:02d}:{whole % 60:02d}:{seconds:02d}"


def spread(values: Sequence[float]) -> Metrics:
    """Return the median and the range of repeated measurements, and the measurements themselves."""
    return {"median": statistics.median(values), "low": min(values), "high": max(values), "repeats": list(values)}


def add_row(result: Path, key: str, row: Metrics) -> None:
    """Add a row to a file of results; a lock lets several commands write to the file at the same time."""
    with FileLock(result.with_name(f".{result.name}.lock")):
        write_json(result, {"rows": {**rows_of(result), key: row}})


def rows_of(result: Path) -> Metrics:
    """Return the rows of a file of results by name, or an empty dict if there is no such file."""
    return json.loads(result.read_text())["rows"] if result.exists() else {}


def machine() -> Metrics:
    """Return a description of this machine: hardware, CPU and version of Python."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        named = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        cpu = f"{len(named)} cores, {named[0]}" if named else cpu
    return {"hardware": describe(), "cpu": cpu, "python": platform.python_version()}


class Child:
    """A child process that measures when it is told to; :func:`serve` is its other end.

    Args:
        arguments: Arguments of the Python interpreter: the module or script, and its own arguments.
        environment: Environment variables to add to those of this process.
    """

    def __init__(self, arguments: Sequence[str], environment: dict[str, str] | None = None) -> None:
        self.arguments = arguments
        self.process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )

    def ask(self) -> Metrics:
        """Request the next metrics and return them.

        Raises:
            RuntimeError: If the process has ended.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{' '.join(self.arguments)} has ended with status {self.process.wait()}")
        return json.loads(line)

    def end(self) -> None:
        """End the process."""
        self.process.communicate()


def serve(answers: Iterator[Metrics]) -> None:
    """Print the next metrics as a line of JSON for each input line; other output goes to the standard error."""
    replies, sys.stdout = os.fdopen(os.dup(1), "w"), sys.stderr
    for _ in sys.stdin:
        print(json.dumps(next(answers)), file=replies, flush=True)
