"""The lock on a folder: one process at a time writes into the folder of a run or of a sweep."""

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from nf_mnist.checkpoints.writing import write_json
from nf_mnist.errors import MachineError

LOCK_FILE, OWNER_FILE = ".lock", ".owner.json"
SECONDS_TO_WAIT = 1  # :func:`is_locked` holds the lock of a free folder for a moment


@contextlib.contextmanager
def lock_folder(folder: Path, kind: str) -> Iterator[None]:
    """Lock a folder for this process; the system releases the lock however the process ends.

    Args:
        folder: The folder to lock; it is created if it does not exist.
        kind: What the folder belongs to, ``run`` or ``sweep``; the error message names it.

    Raises:
        MachineError: If another process holds the lock; the message names that process.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK_FILE)
    try:
        lock.acquire(timeout=SECONDS_TO_WAIT)
    except Timeout:
        raise MachineError(f"{folder} belongs to a {kind} that is under way: {_owner(folder)}; wait for it") from None
    try:
        write_json(folder / OWNER_FILE, {"pid": os.getpid(), "host": socket.gethostname()})
        yield
    finally:
        lock.release()


def is_locked(folder: Path) -> bool:
    """Return whether a process holds the lock of a folder."""
    if not (folder / LOCK_FILE).exists():
        return False
    try:
        with FileLock(folder / LOCK_FILE, blocking=False):
            return False
    except Timeout:
        return True


def _owner(folder: Path) -> str:
    try:
        owner = json.loads((folder / OWNER_FILE).read_text())
        return f"process {owner['pid']} on {owner['host']}"
    except (OSError, ValueError, LookupError, TypeError):  # the owner has the lock, but has not written the file yet
        return "a process that has just begun"
