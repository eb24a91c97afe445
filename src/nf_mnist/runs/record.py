"""The record of a run, ``run.json`` in its folder: what it was, on what, and how it ended; and the lock on a folder."""

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
from typing import Any

from filelock import FileLock, Timeout

from nf_mnist import __version__
from nf_mnist.app.messages import one_line
from nf_mnist.checkpoints.writing import write_json, write_text
from nf_mnist.errors import DivergenceError, MachineError

PACKAGE = Path(__file__).parents[1]
PACKAGES = ("torch", "torchvision", "lightning", "hydra-core", "omegaconf", "numpy", "tensorboard", "matplotlib")
COMPLETED, DIVERGED, INTERRUPTED = "completed", "diverged", "interrupted"
FAILED, REFUSED, KILLED, RUNNING = "failed", "refused", "killed", "running"
FINAL = (COMPLETED, DIVERGED)  # what another start would not change


@contextlib.contextmanager
def lock_folder(folder: Path, what: str) -> Iterator[None]:
    """Lock a folder for this process; the system takes the lock back however the process ends.

    Args:
        folder: Is made if it is not there.
        what: ``run`` or ``sweep``, for the error.

    Raises:
        MachineError: If another process holds it; says which.
    """
    folder.mkdir(parents=True, exist_ok=True)
    owner = folder / ".owner.json"
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=1)  # a report may hold it for a moment, to see whether anyone does
    except Timeout:
        raise MachineError(f"{folder} belongs to a {what} that is under way: {_owner(owner)}; wait for it") from None
    try:
        write_json(owner, {"pid": os.getpid(), "host": socket.gethostname()})
        yield
    finally:
        lock.release()


def is_held(folder: Path) -> bool:
    """Return whether a process holds the lock of a folder."""
    if not (folder / ".lock").exists():
        return False
    try:
        with FileLock(folder / ".lock", blocking=False):
            return False
    except Timeout:
        return True


def _owner(path: Path) -> str:
    try:
        owner = json.loads(path.read_text())
        return f"process {owner['pid']} on {owner['host']}"
    except (OSError, ValueError, KeyError):  # it has only just taken the lock
        return "a process that has just begun"


def read_record(run_dir: Path) -> dict[str, Any]:
    """Return the record of a run, {} if there is none; it was ``killed`` if its process is gone without a word."""
    try:
        record: dict[str, Any] = json.loads((run_dir / "run.json").read_text())
    except (OSError, ValueError):
        return {}
    if record.get("status") == RUNNING and not is_held(run_dir):
        record |= {"status": KILLED, "error": "its process ended without a word"}
    return record


def update_record(run_dir: Path, **fields: Any) -> None:
    """Change fields of a run's record, or begin one."""
    run_dir.mkdir(parents=True, exist_ok=True)
    write_json(run_dir / "run.json", {**read_record(run_dir), **fields})


@contextlib.contextmanager
def recorded(run_dir: Path, overrides: Sequence[str], **fields: Any) -> Iterator[None]:
    """Write a run's record as it begins and as it ends, however it does, short of SIGKILL.

    Args:
        run_dir: The folder of the run.
        overrides: Of the command line.
        **fields: What else there is to say (seed, hardware).
    """
    begin, earlier = time.time(), read_record(run_dir)
    command = shlex.join(["python", "-m", "nf_mnist.train", *overrides])
    about = {"overrides": list(overrides), "command": command, **fields, **environment(run_dir)}
    update_record(run_dir, **about, status=RUNNING, error=None, began=earlier.get("began", begin), pid=os.getpid())

    def end(status: str, error: str | None = None) -> None:
        seconds = earlier.get("seconds", 0.0) + time.time() - begin
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
    """Return versions, machine and the state of the checkout; what is not committed goes to ``uncommitted.diff``."""
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    found: dict[str, Any] = {
        "versions": {"python": platform.python_version(), "nf_mnist": __version__, **versions},
        "host": socket.gethostname(),
        "executable": sys.executable,
        "git": None,
    }
    if (commit := _git("rev-parse", "HEAD")) is not None:
        diff = _git("diff", "HEAD") or ""
        found["git"] = {"commit": commit.strip(), "is_clean": not diff}
        if diff:
            write_text(run_dir / "uncommitted.diff", diff)
    return found


def _git(*arguments: str) -> str | None:
    """Run git on the checkout that this package is part of; None if it is part of none."""
    git = ["git", "-C", str(PACKAGE)]
    try:
        subprocess.run([*git, "ls-files", "--error-unmatch", "__init__.py"], check=True, capture_output=True)
        output = subprocess.run([*git, *arguments], check=True, capture_output=True).stdout
        return output.decode(errors="replace")  # a diff has the bytes of its files, whatever they are
    except (OSError, subprocess.CalledProcessError):
        return None
