"""Stop with a sentence, not with noise, when the loss is no longer a number."""

from typing import Any

import lightning as L
import torch
from torch import Tensor

from nf_mnist.errors import DivergenceError
from nf_mnist.training.callbacks.base import check_counts


class StopOnDivergence(L.Callback):
    """Raise a named error once the training loss was not finite, before such weights reach a checkpoint.

    The first bad step is noted on the device, and looked at every ``every_n_steps`` steps and before each checkpoint,
    so that a GPU is not made to wait in every step.

    Args:
        every_n_steps: How often to look.
    """

    def __init__(self, every_n_steps: int) -> None:
        check_counts(every_n_steps=every_n_steps)
        self.every_n_steps = every_n_steps
        self._first_bad_step: Tensor | None = None

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = outputs["loss"]
        if self._first_bad_step is None:
            self._first_bad_step = torch.full((), -1, device=loss.device)
        is_first = ~torch.isfinite(loss) & (self._first_bad_step < 0)
        self._first_bad_step = torch.where(is_first, trainer.global_step, self._first_bad_step)
        if trainer.global_step % self.every_n_steps == 0:
            self._look()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._look()

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        self._look()

    def _look(self) -> None:
        if self._first_bad_step is not None and self._first_bad_step >= 0:
            raise DivergenceError(
                f"the loss was not finite at step {int(self._first_bad_step)}; the last good checkpoint is kept. "
                "Likely causes: too high a rate (optimizer.lr, trainer.gradient_clip_val=100), an unbounded scale "
                "(model.flow.scale=tanh), undithered levels (data.dequantizer=uniform)"
            )
