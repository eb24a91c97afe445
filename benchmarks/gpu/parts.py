"""The parts of ``python -m benchmarks.gpu``, and the file that each writes.

``python -m benchmarks.gpu.parts NAME FILE DEADLINE [--rehearse]`` runs one part and writes its rows as they come.
"""

import argparse
import importlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.measuring import Metrics, default_device, machine
from nf_mnist.checkpoints.writing import write_json
from nf_mnist.hardware import describe, use_ieee_float32
from nf_mnist.training.gpu import gpu_record

# Seconds that each part may take; the module of the same name yields its rows.
LIMITS = {
    "cases": 100,
    "round_trips": 60,
    "training": 170,
    "resume": 80,
    "batch_size": 60,
    "lanes": 90,
    "speed": 300,  # takes what is left
}
RUNNING, COMPLETED, FAILED, SKIPPED = "running", "completed", "failed", "skipped"
Rows = Iterator[tuple[str, Metrics]]


class Plan(NamedTuple):
    """How a part is to run.

    Attributes:
        rehearse: Whether to go through it on the CPU in small sizes.
        deadline: The time at which it will be ended, in seconds since 1970.
    """

    rehearse: bool
    deadline: float

    @property
    def device(self) -> str:
        """The device to measure."""
        return "cpu" if self.rehearse else "cuda"


def write_part(path: Path, status: str, rows: dict[str, Metrics], error: str | None = None) -> None:
    """Write the file of a part."""
    device = default_device()
    hardware = {**machine(), "hardware": describe(device), "gpu": gpu_record(device)}
    write_json(path, {"status": status, "error": error, **hardware, "rows": rows})


def read_part(path: Path) -> dict[str, Any]:
    """Return what a part has written, or {} if it has not begun to."""
    return json.loads(path.read_text()) if path.exists() else {}


def main() -> None:
    """Run one part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=LIMITS)
    parser.add_argument("path", type=Path)
    parser.add_argument("deadline", type=float)
    parser.add_argument("--rehearse", action="store_true")
    options = parser.parse_args()
    if options.rehearse:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    use_ieee_float32()
    rows: dict[str, Metrics] = {}
    write_part(options.path, RUNNING, rows)
    for key, row in importlib.import_module(f"benchmarks.gpu.{options.name}").rows(
        Plan(options.rehearse, options.deadline)
    ):
        rows[key] = row
        write_part(options.path, RUNNING, rows)
        print(f"  {key}: {row}", flush=True)
    write_part(options.path, COMPLETED, rows)


if __name__ == "__main__":
    main()
