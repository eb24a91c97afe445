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


def atomic_write(path: str | Path, write: Callable[[IO[bytes]], Any], advice: str) -> None:
    """Let ``write`` fill a file; it takes its name once all of it is on the disk.

    Args:
        path: The file; its folder is made if it is not there.
        write: Is given the file to write into.
        advice: What to do if the disk is full, for the message.

    Raises:
        MachineError: If the disk is full or cannot be written to; what was at ``path`` is still there.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise MachineError(f"cannot write {path}: {error.strerror}; {advice}") from error


def write_json(path: str | Path, content: Any) -> None:
    """Write JSON whole or not at all: under a temporary name first, then renamed; NaN and infinity are null."""
    write_text(path, json.dumps(_finite(content), indent=2, allow_nan=False) + "\n")


def _finite(content: Any) -> Any:
    """Return content as JSON can say it, which has no word for what is not finite."""
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def write_text(path: str | Path, text: str) -> None:
    """Write a text file whole or not at all: under a temporary name first, then renamed."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    temporary.write_text(text)
    temporary.replace(path)
