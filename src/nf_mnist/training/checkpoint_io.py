"""Checkpoints are written as a whole or not at all."""

import io
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO

from nf_mnist.checkpoints.writing import atomic_write
from nf_mnist.overrides import pasteable


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint under a temporary name in the same folder, then renames it.

    Lightning's own class writes to the system's temporary folder and moves the file. Between file systems that is a
    copy, and an interrupted copy is an unreadable checkpoint.
    """

    def __init__(self) -> None:
        super().__init__()
        self._folders: set[Path] = set()

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        content = io.BytesIO()
        torch.save(checkpoint, content)
        atomic_write(path, lambda file: file.write(content.getbuffer()), how_to_resume(Path(path).parent))
        self._folders.add(Path(path).parent.resolve())

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete a file in a folder that this object has saved into, and nothing else.

        Lightning's own class deletes whatever the path names, folders too, and the path may come from the state of a
        callback in a stranger's checkpoint.
        """
        path = Path(path)
        if path.is_file() and path.parent.resolve() in self._folders:
            path.unlink()


def how_to_resume(checkpoints: Path) -> str:
    """Say what to do when a training could not write into its folder of checkpoints."""
    return f"earlier checkpoints are whole: make room, then resume with {pasteable('ckpt', checkpoints / 'last.ckpt')}"
