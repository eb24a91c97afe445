"""Checkpoints are written as a whole or not at all."""

import io
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO

from nf_mnist.checkpoints.writing import atomic_write


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint under a temporary name in the same folder, then renames it.

    Lightning's own class writes to the system's temporary folder and moves the file. Between file systems that is a
    copy, and an interrupted copy is an unreadable checkpoint.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        content = io.BytesIO()
        torch.save(checkpoint, content)
        atomic_write(path, lambda file: file.write(content.getbuffer()), how_to_resume(Path(path).parent))


def how_to_resume(checkpoints: Path) -> str:
    """Say what to do when a training could not write into its folder of checkpoints."""
    return f"earlier checkpoints are whole: make room, then resume with ckpt={checkpoints / 'last.ckpt'}"
