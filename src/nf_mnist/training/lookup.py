"""The callbacks of a trainer, by their kind."""

from typing import TypeVar

import lightning as L

Kind = TypeVar("Kind", bound=L.Callback)


def callbacks_of(trainer: L.Trainer, kind: type[Kind]) -> list[Kind]:
    """Return the callbacks of a trainer that are of a kind, in their order."""
    callbacks: list[L.Callback] = trainer.callbacks  # type: ignore[attr-defined]  # Lightning does not declare it
    return [callback for callback in callbacks if isinstance(callback, kind)]
