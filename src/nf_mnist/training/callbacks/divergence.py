"""Stop with a sentence, not with noise, when the loss is no longer a number; or leave such steps out."""

from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

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
                "(model.flow.scale_activation=tanh), undithered levels (data.dequantizer=uniform)"
            )


class SkipBadSteps(L.Callback):
    """Leave out steps whose gradient is not finite; weights, the optimizer's averages and buffers stay as they were.

    Buffers are running statistics, for one, which such a batch has spoilt before its gradient is known. The gradient is
    looked at in every step, for which a GPU has to finish its work.

    Args:
        most_in_a_row: How many steps may be left out one after another.
    """

    def __init__(self, most_in_a_row: int) -> None:
        check_counts(most_in_a_row=most_in_a_row)
        self.most_in_a_row = most_in_a_row
        self.n_skipped = self.n_in_a_row = 0
        self._buffers: list[Tensor] = []  # from before the step, which may be of several batches

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if not self._buffers:
            self._buffers = [buffer.clone() for buffer in pl_module.buffers()]

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer) -> None:
        gradients = [parameter.grad for parameter in pl_module.parameters() if parameter.grad is not None]
        is_bad = not nn.utils.get_total_norm(gradients).isfinite()
        self.n_in_a_row = self.n_in_a_row + 1 if is_bad else 0
        if is_bad:
            self._undo(pl_module)
        self._buffers = []
        if self.n_in_a_row > self.most_in_a_row:
            raise DivergenceError(
                f"gradients were not finite in {self.n_in_a_row} steps in a row, up to step {trainer.global_step + 1}; "
                "the last good checkpoint is kept; lower optimizer.lr, or bound the scale (model.flow.scale_activation=tanh)"
            )

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        pl_module.log("health/skipped_steps", float(self.n_skipped), batch_size=1)

    def state_dict(self) -> dict[str, Any]:
        return {"n_skipped": self.n_skipped, "n_in_a_row": self.n_in_a_row}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.n_skipped = state_dict["n_skipped"]
        self.n_in_a_row = state_dict.get("n_in_a_row", 0)  # which earlier checkpoints lack

    def _undo(self, module: nn.Module) -> None:
        self.n_skipped += 1
        for buffer, kept in zip(module.buffers(), self._buffers, strict=True):
            buffer.copy_(kept)
        for parameter in module.parameters():
            parameter.grad = None  # which optimizers pass over
