"""Files are written whole or not at all: under a temporary name first, then renamed."""

import contextlib
import json
import math
import os
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from nf_mnist.errors import MachineError

ADVICE = "make room or choose another place, then repeat the command"


def atomic_write(path: str | Path, write: Callable[[IO[bytes]], Any], advice: str = ADVICE) -> None:
    """Let ``write`` fill a file, which takes its name once all of it is on the disk.

    Args:
        path: The file; its folder is made if it is not there.
        write: Function that fills the open file it is given.
        advice: What the error message tells the user to do.

    Raises:
        MachineError: If the disk is full or cannot be written to; what was at ``path`` is still there.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")  # two processes may write the same file
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise MachineError(f"cannot write {path}: {error.strerror or error}; {advice}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file in UTF-8; see :func:`atomic_write`."""
    atomic_write(path, lambda file: file.write(text.encode()))


def write_json(path: str | Path, content: Any) -> None:
    """Write JSON, with NaN and infinity as null; see :func:`atomic_write`."""
    write_text(path, json.dumps(_finite(content), indent=2, allow_nan=False) + "\n")


def _finite(content: Any) -> Any:
    """Return content with null for NaN and infinity, which JSON does not have."""
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
