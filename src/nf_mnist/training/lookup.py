"""The callbacks of a trainer, by their kind."""

from typing import TypeVar

import lightning as L

Kind = TypeVar("Kind", bound=L.Callback)


def all_callbacks(trainer: L.Trainer) -> list[L.Callback]:
    """Return the list of callbacks that a trainer holds, to which others can be added."""
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]  # Lightning does not declare it
    return callbacks


def callbacks_of(trainer: L.Trainer, kind: type[Kind]) -> list[Kind]:
    """Return the callbacks of a trainer that are of a kind, in their order."""
    return [callback for callback in all_callbacks(trainer) if isinstance(callback, kind)]
