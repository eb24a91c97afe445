"""The callbacks that save checkpoints, checked before a training that relies on their files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint

from nf_mnist.errors import ConfigError
from nf_mnist.training.callbacks import SaveBest, SaveResumable

# What the end of a training, its resume and its evaluation rely on.
BEST = {"filename": "best", "monitor": "val/loss", "mode": "min", "save_top_k": 1, "save_last": None}
LAST = {"save_last": True}


def check_savers(trainer: L.Trainer, run_dir: Path) -> None:
    """Check that the best and the last checkpoint of a run will be ``best.ckpt`` and ``last.ckpt`` in ``checkpoints``.

    Args:
        trainer: The trainer.
        run_dir: The folder of the run.

    Raises:
        ConfigError: If SaveBest or SaveResumable has a setting with which a run would lose its best checkpoint or could
            not be resumed, or another callback saves under the same names.
    """
    folder = (run_dir / "checkpoints").resolve()
    for callback in trainer.checkpoint_callbacks:
        if isinstance(callback, SaveBest):
            _check_settings(callback, "best", folder, BEST)
        elif isinstance(callback, SaveResumable):
            _check_settings(callback, "last", folder, LAST)
        if isinstance(callback, ModelCheckpoint) and not isinstance(callback, SaveBest):
            _check_name(callback, folder)


def _check_settings(callback: ModelCheckpoint, name: str, folder: Path, expected: Mapping[str, Any]) -> None:
    if _folder(callback) != folder:
        raise ConfigError(f"callbacks.{name}.dirpath must be {folder}, where a run is resumed and measured from")
    for key, value in expected.items():
        if (got := getattr(callback, key)) != value:
            raise ConfigError(
                f"callbacks.{name}.{key} must be {value}, got {got}: a run is resumed and measured from best.ckpt and "
                "last.ckpt; add a ModelCheckpoint of your own for other checkpoints"
            )


def _check_name(callback: ModelCheckpoint, folder: Path) -> None:
    if _folder(callback) == folder and callback.filename in ("best", "last"):
        raise ConfigError(
            f"{type(callback).__name__} would write {folder / callback.filename}.ckpt, which another callback writes; "
            "choose another filename, such as step_{step}"
        )


def _folder(callback: ModelCheckpoint) -> Path:
    return Path(callback.dirpath or "").resolve()
