"""Stop a training with a clear message when its loss is not finite, or skip such steps."""

from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from nf_mnist.errors import DivergenceError, check_range

NEVER = torch.iinfo(torch.int64).max  # the number of a step that will not come


class StopOnDivergence(L.Callback):
    """Raise an error if the training loss was not finite, before the weights are validated or saved.

    The number of the first bad step is kept on the device. It is read every ``every_n_steps`` steps, before each
    validation and before each checkpoint, so that a GPU does not have to wait in every step. Where several processes
    train, each learns then what the others have met, and all of them raise the error at the same step.

    Args:
        every_n_steps: Number of steps between two checks.

    Raises:
        ConfigError: If ``every_n_steps`` is below 1.
    """

    def __init__(self, every_n_steps: int) -> None:
        check_range(1, every_n_steps=every_n_steps)
        self.every_n_steps = every_n_steps
        self._first_bad_step: Tensor | None = None

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loss = outputs["loss"]
        if self._first_bad_step is None:
            self._first_bad_step = torch.full((), NEVER, device=loss.device)
        bad_step = torch.full_like(self._first_bad_step, trainer.global_step).masked_fill_(loss.isfinite(), NEVER)
        self._first_bad_step = torch.minimum(self._first_bad_step, bad_step)
        if trainer.global_step % self.every_n_steps == 0:
            self._raise_if_bad(trainer)

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._raise_if_bad(trainer)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        self._raise_if_bad(trainer)

    def _raise_if_bad(self, trainer: L.Trainer) -> None:
        if self._first_bad_step is None:
            return
        first = int(trainer.strategy.reduce(self._first_bad_step.clone(), reduce_op="min"))
        if first != NEVER:
            raise DivergenceError(
                f"the loss was not finite at step {first}; the last good checkpoint is kept. "
                "Likely causes: too high a rate (optimizer.lr, trainer.gradient_clip_val=100), an unbounded scale "
                "(model.flow.scale_activation=tanh), undithered levels (data.dequantizer=uniform)"
            )


class SkipBadSteps(L.Callback):
    """Skip steps whose gradient is not finite; weights, buffers and the optimizer's averages keep their values.

    Buffers hold running statistics, for example, and the batch has spoilt them before its gradient is known. The
    gradient is checked in every step, for which a GPU has to finish its work.

    Args:
        max_consecutive: Number of consecutive steps that may be skipped.

    Raises:
        ConfigError: If ``max_consecutive`` is below 1.
    """

    def __init__(self, max_consecutive: int) -> None:
        check_range(1, max_consecutive=max_consecutive)
        self.max_consecutive = max_consecutive
        self.n_skipped = self.n_consecutive = 0
        self._buffers: list[Tensor] = []  # copies from before the step, which may consist of several batches

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if not self._buffers:
            self._buffers = [buffer.clone() for buffer in pl_module.buffers()]

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Optimizer) -> None:
        gradients = [parameter.grad for parameter in pl_module.parameters() if parameter.grad is not None]
        is_bad = not nn.utils.get_total_norm(gradients).isfinite()
        self.n_consecutive = self.n_consecutive + 1 if is_bad else 0
        if is_bad:
            self._undo(pl_module)
        self._buffers = []
        if self.n_consecutive > self.max_consecutive:
            raise DivergenceError(
                f"gradients were not finite in {self.n_consecutive} steps in a row, up to step "
                f"{trainer.global_step + 1}; the last good checkpoint is kept; lower optimizer.lr, or bound the scale "
                "(model.flow.scale_activation=tanh)"
            )

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        pl_module.log("health/skipped_steps", float(self.n_skipped), batch_size=1)

    def state_dict(self) -> dict[str, Any]:
        return {"n_skipped": self.n_skipped, "n_in_a_row": self.n_consecutive}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.n_skipped = state_dict["n_skipped"]
        self.n_consecutive = state_dict.get("n_in_a_row", 0)  # older checkpoints lack it

    def _undo(self, module: nn.Module) -> None:
        self.n_skipped += 1
        for buffer, before in zip(module.buffers(), self._buffers, strict=True):
            buffer.copy_(before)
        for parameter in module.parameters():
            parameter.grad = None  # optimizers skip parameters without a gradient
