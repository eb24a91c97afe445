"""The record of a run, ``run.json`` in its folder: its settings, its environment, and how it ended."""

import contextlib
import importlib.metadata
import json
import os
import platform
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from nf_mnist import __version__
from nf_mnist.app.messages import one_line
from nf_mnist.checkpoints.writing import write_json, write_text
from nf_mnist.errors import DivergenceError
from nf_mnist.runs.lock import is_locked

PACKAGE = Path(__file__).parents[1]
# The packages whose versions a record names.
RECORDED_PACKAGES = (
    "torch",
    "torchvision",
    "lightning",
    "hydra-core",
    "omegaconf",
    "numpy",
    "tensorboard",
    "matplotlib",
)
RECORD_FILE = "run.json"
COMPLETED, DIVERGED, INTERRUPTED = "completed", "diverged", "interrupted"
FAILED, REFUSED, KILLED, RUNNING = "failed", "refused", "killed", "running"
FIELD_KINDS: dict[str, Any] = {
    "overrides": list,
    "status": str,
    "error": str | None,
    "pid": int,
    "threads": int | None,
    "fewest_threads": int | None,
    "bfloat16_is_faster": bool | None,
}  # of the fields that commands read
LIMITS: dict[str, tuple[float, float]] = {
    "began": (0, sys.float_info.max),
    "seconds": (0, sys.float_info.max),
    "threads": (1, 4096),  # more than any machine has
    "val_loss": (-sys.float_info.max, sys.float_info.max),
    "val_bpd": (-sys.float_info.max, sys.float_info.max),
}  # of numbers among them
FINAL_STATUSES = (COMPLETED, DIVERGED)  # starting the run again would end in the same way


def read_record(run_dir: Path) -> dict[str, Any]:
    """Return the record of a run, or {} if there is none.

    A run whose record says that it is running, but whose process has gone, gets the status ``killed``. A damaged record
    is that of a run that failed.
    """
    path = run_dir / RECORD_FILE
    try:
        record = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError):
        record = None
    if not _is_record(record):
        return {"status": FAILED, "error": f"{path} is damaged"}
    if record.get("status") == RUNNING and not is_locked(run_dir):
        record |= {"status": KILLED, "error": "its process ended without a word"}
    return record


def _is_record(record: Any) -> TypeGuard[dict[str, Any]]:
    """Return whether this is a record: each field that is read can be used, and a completed run has its loss."""
    if not isinstance(record, dict):
        return False
    if record.get("status") == COMPLETED and not {"val_loss", "seconds"} <= record.keys():
        return False
    if not all(isinstance(record[key], kind) for key, kind in FIELD_KINDS.items() if key in record):
        return False
    numbers = {key: record[key] for key in LIMITS if key in record and (key, record[key]) != ("threads", None)}
    return all(_is_within(number, *LIMITS[key]) for key, number in numbers.items()) and all(
        isinstance(text, str) for text in record.get("overrides", [])
    )


def _is_within(number: Any, low: float, high: float) -> bool:
    """Return whether this is a number within limits, which NaN is not."""
    return isinstance(number, int | float) and low <= number <= high


def run_records(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the record of each run of a sweep by the name of the run's folder."""
    return {path.parent.name: read_record(path.parent) for path in sorted(folder.glob(f"*/{RECORD_FILE}"))}


def update_record(run_dir: Path, **fields: Any) -> None:
    """Change fields of a run's record; start the record if there is none."""
    run_dir.mkdir(parents=True, exist_ok=True)
    write_json(run_dir / RECORD_FILE, {**read_record(run_dir), **fields})


@contextlib.contextmanager
def recorded(run_dir: Path, overrides: Sequence[str], **fields: Any) -> Iterator[None]:
    """Write a run's record when the run begins and when it ends, in whatever way except by SIGKILL.

    Args:
        run_dir: The folder of the run.
        overrides: The overrides on the command line.
        **fields: Further fields of the record, such as the seed and the hardware.
    """
    begin, earlier = time.monotonic(), read_record(run_dir)
    command = shlex.join(["python", "-m", "nf_mnist.train", *overrides])
    description = {"overrides": list(overrides), "command": command, **fields, **environment(run_dir)}
    began = earlier.get("began", time.time())
    update_record(run_dir, **description, status=RUNNING, error=None, began=began, pid=os.getpid())

    def end(status: str, error: str | None = None) -> None:
        seconds = earlier.get("seconds", 0.0) + time.monotonic() - begin
        update_record(run_dir, status=status, error=error, seconds=seconds)

    try:
        yield
    except Exception as error:
        with contextlib.suppress(OSError):  # the disk may be full
            end(DIVERGED if isinstance(error, DivergenceError) else FAILED, one_line(error) or type(error).__name__)
        raise
    except BaseException:
        end(INTERRUPTED, "it was told to stop")
        raise
    end(COMPLETED)


def environment(run_dir: Path) -> dict[str, Any]:
    """Return the versions, the machine and the commit; write uncommitted changes to ``uncommitted.diff``."""
    versions = {name: importlib.metadata.version(name) for name in RECORDED_PACKAGES}
    description: dict[str, Any] = {
        "versions": {"python": platform.python_version(), "nf_mnist": __version__, **versions},
        "host": socket.gethostname(),
        "executable": sys.executable,
        "git": None,
    }
    if (commit := _git("rev-parse", "HEAD")) is not None:
        diff = _git("diff", "HEAD") or ""
        description["git"] = {"commit": commit.strip(), "is_clean": not diff}
        if diff:
            write_text(run_dir / "uncommitted.diff", diff)
    return description


def _git(*arguments: str) -> str | None:
    """Return what git prints about the checkout that this package belongs to, or None if it belongs to none."""
    git = ["git", "-C", str(PACKAGE)]
    try:
        subprocess.run([*git, "ls-files", "--error-unmatch", "__init__.py"], check=True, capture_output=True)
        output = subprocess.run([*git, *arguments], check=True, capture_output=True).stdout
        return output.decode(errors="replace")  # a diff holds the bytes of its files, in any encoding
    except (OSError, subprocess.CalledProcessError):
        return None
