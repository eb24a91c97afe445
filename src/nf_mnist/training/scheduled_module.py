"""What every training shares: a schedule over the budget, and randomness that a resumed run draws again."""

from collections.abc import Callable, Iterable
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import Timer
from lightning.pytorch.plugins.precision import Precision
from lightning.pytorch.utilities import GradClipAlgorithmType
from torch import nn
from torch.optim import Optimizer

from nf_mnist.checkpoints.old_names import current_parameter
from nf_mnist.training.loader import Batch
from nf_mnist.training.lookup import callbacks_of
from nf_mnist.training.schedule import Schedule
from nf_mnist.training.seeds import mixed_seed

OptimizerFactory = Callable[[Iterable[tuple[str, nn.Parameter]]], Optimizer]


class ScheduledModule(L.LightningModule):
    """A module whose learning rate follows a schedule over the budget of steps, epochs or time.

    All randomness of a step (dequantization noise, augmentation, dropout) is a function of seed, epoch, batch and
    process, so that a resumed run draws what an uninterrupted run would have drawn. A checkpoint holds the share of the
    peak rate at each batch; only with it can a run with a budget of time be repeated.

    Args:
        optimizer: Builds the optimizer from the parameters and their names.
        schedule: Schedule of the learning rate.
        seed: Seed for the training noise.
    """

    def __init__(self, optimizer: OptimizerFactory, schedule: Schedule, seed: int) -> None:
        super().__init__()
        self.make_optimizer = optimizer
        self.schedule = schedule
        self.seed = seed
        self.rate_factors: list[float] = []  # the share of the peak rate at each batch so far
        self.replayed_factors: list[float] = []  # those of another run, which come before the schedule

    def configure_optimizers(self) -> Optimizer:
        return self.optimizer_of((name, value) for name, value in self.named_parameters() if value.requires_grad)

    def optimizer_of(self, parameters: Iterable[tuple[str, nn.Parameter]]) -> Optimizer:
        """Build the optimizer of parameters with their names, and keep the peak learning rate of each group."""
        optimizer = self.make_optimizer(parameters)
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
        return optimizer

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed the randomness of this step and set its learning rate."""
        torch.manual_seed(mixed_seed(self.seed, self.current_epoch, batch_idx, self.global_rank))
        n_batches = len(self.rate_factors)
        is_replay = n_batches < len(self.replayed_factors)
        factor = self.replayed_factors[n_batches] if is_replay else self.schedule.factor(self.progress())
        if self._has_time_budget():
            factor = self.trainer.strategy.broadcast(factor)  # the clocks of several processes differ
        self.rate_factors.append(factor)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = group["peak_lr"] * factor

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip gradients as Lightning does, but also for fused optimizers in bfloat16.

        Lightning refuses those (https://github.com/Lightning-AI/pytorch-lightning/issues/21435) because gradients in
        float16 are scaled. Gradients in bfloat16 are not.
        """
        plugin = self.trainer.precision_plugin
        algorithm = GradClipAlgorithmType(gradient_clip_algorithm or GradClipAlgorithmType.NORM)
        Precision.clip_gradients(plugin, optimizer, gradient_clip_val or 0.0, algorithm)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["rate_factors"] = torch.tensor(self.rate_factors, dtype=torch.float64)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        own = self.state_dict()
        for key in ("state_dict", "current_model_state"):  # the second is there if the first is a moving average
            if key in checkpoint:
                checkpoint[key] = {current_parameter(name, own): value for name, value in checkpoint[key].items()}
        if "rate_factors" in checkpoint:
            self.rate_factors = checkpoint["rate_factors"].tolist()

    def progress(self) -> float:
        """Return the share of the budget that is spent, in [0, 1]: the largest share among steps, epochs and time."""
        trainer: Any = self.trainer
        shares = [0.0]
        steps = trainer.estimated_stepping_batches
        if 0 < steps < float("inf"):
            shares.append(trainer.global_step / steps)
        for timer in self._timers():
            remaining = timer.time_remaining()
            if remaining is not None:
                elapsed = timer.time_elapsed()
                shares.append(elapsed / (elapsed + remaining))
        return min(max(shares), 1.0)

    def _timers(self) -> list[Timer]:
        return callbacks_of(self.trainer, Timer)

    def _has_time_budget(self) -> bool:
        return any(timer.time_remaining() is not None for timer in self._timers())
