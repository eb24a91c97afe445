"""Fewer threads while other processes need the cores."""

from typing import Any

import lightning as L

from nf_mnist.cores import SharedCores
from nf_mnist.training.lookup import callbacks_of


class ShareCores(L.Callback):
    """Adapts the number of threads to the cores that others leave free; see :class:`~nf_mnist.cores.SharedCores`.

    Where networks are compiled, the number is chosen at the start and then kept: torch compiles them anew for each
    number of threads. A checkpoint holds the smallest number so far. A resumed run, which ends with other last bits
    than one that had all threads, thus still knows it.
    """

    def __init__(self) -> None:
        self.cores: SharedCores | None = None
        self._fewest: int | None = None  # of the run that is resumed
        self._is_compiled = False

    @property
    def fewest(self) -> int | None:
        """The smallest number of threads so far, or None before the training."""
        own = None if self.cores is None else self.cores.fewest
        known = [n for n in (self._fewest, own) if n is not None]
        return min(known) if known else None

    def text(self) -> str:
        """Return in words that there are fewer threads than at the beginning, or ""."""
        return "" if self.cores is None else self.cores.text()

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.cores = SharedCores()
        self._is_compiled = any(part._compiled_call_impl is not None for part in pl_module.modules())

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._adapt()

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        self._adapt()

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if self.cores is not None:
            self.cores.restore()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self.teardown(trainer, pl_module, "fit")

    def state_dict(self) -> dict[str, Any]:
        return {"fewest_threads": self.fewest or 0}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._fewest = state_dict["fewest_threads"] or None

    def _adapt(self) -> None:
        if self.cores is not None and not self._is_compiled:
            self.cores.adapt()


def fewest_threads(trainer: L.Trainer) -> int | None:
    """Return the smallest number of threads with which a training has computed, or None if nothing changed it."""
    return next((callback.fewest for callback in callbacks_of(trainer, ShareCores)), None)
