"""Files are written whole or not at all: under a temporary name first, then renamed."""

import contextlib
import getpass
import itertools
import json
import math
import os
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
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
    with _temporary_file(Path(path), write, advice) as temporary:
        temporary.replace(path)


def create_file(path: str | Path, write: Callable[[IO[bytes]], Any], advice: str = ADVICE) -> Path:
    """Write a new file as :func:`atomic_write` does, but never over another.

    Args:
        path: The file. If there is something already, the first free name with a number replaces it: ``NAME-1``.
        write: Function that fills the open file it is given.
        advice: What the error message tells the user to do.

    Returns:
        The path of the file.

    Raises:
        MachineError: As :func:`atomic_write`.
    """
    with _temporary_file(Path(path), write, advice) as temporary:
        return _create_first_free(Path(path), lambda free: _publish(temporary, free))


def user_folder() -> Path:
    """Return a folder for locks, one for each user, in the system's folder for temporary files."""
    user = os.getuid() if hasattr(os, "getuid") else getpass.getuser()  # users in containers often have no name
    folder = Path(tempfile.gettempdir()) / f"nf_mnist-{user}"
    folder.mkdir(exist_ok=True)
    return folder


def create_folder(path: Path) -> Path:
    """Make a new folder; return its path, which has a number if there is something of that name already."""
    return _create_first_free(path, lambda free: free.mkdir(parents=True))


@contextlib.contextmanager
def _temporary_file(path: Path, write: Callable[[IO[bytes]], Any], advice: str) -> Iterator[Path]:
    """Yield a file beside ``path`` that ``write`` has filled; errors name ``path``."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")  # two processes may write the same file
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    except OSError as error:
        raise MachineError(f"cannot write {path}: {error.strerror or error}; {advice}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file; see :func:`atomic_write`."""
    atomic_write(path, lambda file: file.write(content))


def write_text(path: str | Path, text: str) -> None:
    """Write a text file in UTF-8; see :func:`atomic_write`."""
    write_bytes(path, text.encode())


def write_json(path: str | Path, content: Any) -> None:
    """Write JSON, with NaN and infinity as null; see :func:`atomic_write`."""
    write_text(path, json_text(content))


def json_text(content: Any) -> str:
    """Return content as JSON, with NaN and infinity as null."""
    return json.dumps(_finite(content), indent=2, allow_nan=False) + "\n"


def _finite(content: Any) -> Any:
    """Return content with null for NaN and infinity, which JSON does not have."""
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content


def _create_first_free(path: Path, create: Callable[[Path], Any]) -> Path:
    """Create ``path`` or, where there is something already, the first of ``NAME-1``, ``NAME-2``, ... that is free."""
    numbered = (path.with_stem(f"{path.stem}-{number}") for number in itertools.count(1))
    for candidate in itertools.chain([path], numbered):
        if not os.path.lexists(candidate):
            with contextlib.suppress(FileExistsError):  # another process was quicker
                create(candidate)
                return candidate
    raise AssertionError("there is always a free number")


def _publish(temporary: Path, path: Path) -> None:
    """Give a file a second name, which must be free."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        path.touch(exist_ok=False)
        temporary.replace(path)
