"""Measure one GPU in at most ten minutes, without a network: ``python -m benchmarks.gpu [--parts NAME ...]``.

Each part runs in a process of its own, within its own limit of time, and writes ``results/gpu_PART.json``. A part that
fails is recorded with its reason in one line, and the others go on. ``--rehearse`` goes through all parts on the CPU,
in small sizes, and writes into a folder of its own; its numbers mean nothing.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmarks.gpu.parts import COMPLETED, FAILED, LIMITS, SKIPPED, read_part, write_part
from nf_mnist.errors import MachineError

RESULTS = Path(__file__).parents[2] / "results"
SECONDS = 590


def main() -> None:
    """Run the parts one by one, and say how each ended."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--parts", nargs="+", choices=LIMITS, default=list(LIMITS))
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for all parts together")
    parser.add_argument("--rehearse", action="store_true")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if not options.rehearse and not torch.cuda.is_available():
        raise SystemExit(
            f"error: {MachineError('torch sees no GPU here; --rehearse goes through all parts on the CPU')}"
        )
    out = options.out or (Path(tempfile.mkdtemp(prefix="gpu-rehearsal-")) if options.rehearse else RESULTS)
    out.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + options.seconds
    for name in options.parts:
        begin = time.monotonic()
        limit = end - begin if options.rehearse else min(LIMITS[name], end - begin)
        status = run_part(name, out, limit, options.rehearse)
        print(f"{name}: {status}, {time.monotonic() - begin:.0f} s", flush=True)
    print(f"{out}/gpu_*.json; python -m tools.tables writes the tables of docs/gpu.md from results/")


def run_part(name: str, out: Path, seconds: float, rehearse: bool) -> str:
    """Run a part within a number of seconds; return how it ended, in one line, which its file also says."""
    path = out / f"gpu_{name}.json"
    path.unlink(missing_ok=True)
    if seconds < 1:
        write_part(path, SKIPPED, {}, error="no time was left")
        return f"{SKIPPED}, no time was left"
    command = [sys.executable, "-m", "benchmarks.gpu.parts", name, str(path), str(time.time() + seconds)]
    error = _error_of([*command, *(["--rehearse"] if rehearse else [])], seconds)
    found = read_part(path)
    if error is not None:
        write_part(path, FAILED, found.get("rows", {}), error=error)
        return f"{FAILED}, {error}"
    bad = [row["error"] for row in found["rows"].values() if row.get("error")]
    return f"{found['status']}, {len(bad)} of {len(found['rows'])} rows failed" if bad else COMPLETED


def _error_of(command: Sequence[str], seconds: float) -> str | None:
    """Run a command; return None, or the reason why it failed in one line. All of its processes end with it."""
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            _, errors = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return f"it took longer than {seconds:.0f} s"
    if process.returncode == 0:
        return None
    return next(reversed(errors.strip().splitlines()), f"it ended with status {process.returncode}")


if __name__ == "__main__":
    main()
