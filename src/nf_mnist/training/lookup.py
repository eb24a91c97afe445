"""The callbacks of a trainer, by their kind, and the best validation that they know of."""

from typing import TypeVar

import lightning as L
from lightning.pytorch.callbacks import ModelCheckpoint

Kind = TypeVar("Kind", bound=L.Callback)


def all_callbacks(trainer: L.Trainer) -> list[L.Callback]:
    """Return the list of callbacks that a trainer holds, to which others can be added."""
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]  # Lightning does not declare it
    return callbacks


def callbacks_of(trainer: L.Trainer, kind: type[Kind]) -> list[Kind]:
    """Return the callbacks of a trainer that are of a kind, in their order."""
    return [callback for callback in all_callbacks(trainer) if isinstance(callback, kind)]


def best_savers(trainer: L.Trainer) -> list[ModelCheckpoint]:
    """Return the callbacks that save the checkpoint with the least validation loss."""
    return [callback for callback in callbacks_of(trainer, ModelCheckpoint) if callback.monitor == "val/loss"]


def least_validation_loss(trainer: L.Trainer) -> float:
    """Return the least validation loss so far, in nats; infinite before the first validation."""
    scores = [callback.best_model_score for callback in best_savers(trainer)]
    return min((float(score) for score in scores if score is not None), default=float("inf"))
