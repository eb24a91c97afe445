"""Checkpoints are written whole or not at all."""

import contextlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO

from nf_mnist.errors import MachineError


class WholeFiles(TorchCheckpointIO):
    """Writes a checkpoint under a temporary name beside its own, then renames it.

    Lightning's own writes to the system's temporary folder and moves; between file systems that is a copy, and a copy
    that is cut short is an unreadable checkpoint.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        content = io.BytesIO()
        torch.save(checkpoint, content)
        write_whole(path, lambda file: file.write(content.getbuffer()), how_to_resume(Path(path).parent))


def how_to_resume(checkpoints: Path) -> str:
    """Say what to do about a training that could not write into its folder of checkpoints."""
    return f"earlier checkpoints are whole: make room, then resume with ckpt={checkpoints / 'last.ckpt'}"


def write_whole(path: str | Path, write: Callable[[IO[bytes]], Any], advice: str) -> None:
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
