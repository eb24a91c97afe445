"""The Lightning module: dequantize, maximise the likelihood, validate in float32."""

from collections.abc import Callable, Iterable
from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.callbacks import Timer
from torch import Tensor, nn
from torch.optim import Optimizer

from nf_mnist.data import Dequantizer, draw_noise, evaluation_noise
from nf_mnist.flows import Flow
from nf_mnist.metrics import bits_per_dim
from nf_mnist.training.loader import Batch, EvaluationLoader
from nf_mnist.training.schedule import Schedule


class FlowModule(L.LightningModule):
    """Trains a flow by maximum likelihood.

    The loss is the mean negative log-likelihood in nats per image; bits per dimension are logged beside it where the
    data has them. All randomness of a step (dequantization noise, dropout) is a function of seed, epoch, batch and
    process, so that a resumed run draws what an uninterrupted one would have drawn.

    Args:
        flow: The density.
        dequantizer: From levels to the flow's data.
        optimizer: Parameters in, optimizer out.
        schedule: Of the learning rate.
        seed: Of the training noise.
    """

    def __init__(
        self,
        flow: Flow,
        dequantizer: Dequantizer,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        schedule: Schedule,
        seed: int,
    ) -> None:
        super().__init__()
        self.flow = flow
        self.dequantizer = dequantizer
        self.make_optimizer = optimizer
        self.schedule = schedule
        self.seed = seed

    def configure_optimizers(self) -> Optimizer:
        optimizer = self.make_optimizer(self.parameters())
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
        return optimizer

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed this step's randomness and set its learning rate."""
        torch.manual_seed(_hash(self.seed, self.current_epoch, batch_idx, self.global_rank))
        factor = self.schedule.factor(self.progress())
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = group["peak_lr"] * factor

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        levels, labels = batch
        x, log_q = self.dequantizer(levels, draw_noise(levels))
        _, log_prob = self.flow(x, self.flow.context(labels))
        loss = (log_q - log_prob).mean()
        self._log_likelihood("train", loss, len(levels), sync_dist=False)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Score a batch; return ``x``, ``z`` and ``labels``, so that callbacks need no second pass."""
        levels, labels = batch
        loader = cast(EvaluationLoader, self.trainer.val_dataloaders)
        index = loader.indices(batch_idx).to(levels.device)
        x, log_q = self.dequantizer(levels, evaluation_noise(index, levels.shape[1:], draw=0, seed=0))
        with torch.autocast(levels.device.type, enabled=False):
            z, log_prob = self.flow(x, self.flow.context(labels))
        self._log_likelihood("val", (log_q - log_prob).mean(), len(levels), sync_dist=True)
        return {"x": x, "z": z, "labels": labels}

    def progress(self) -> float:
        """Return how much of the budget is spent, in [0, 1]: the largest share among steps, epochs and time."""
        trainer: Any = self.trainer
        shares = [0.0]
        steps = trainer.estimated_stepping_batches
        if 0 < steps < float("inf"):
            shares.append(trainer.global_step / steps)
        for timer in (callback for callback in trainer.callbacks if isinstance(callback, Timer)):
            remaining = timer.time_remaining()
            if remaining is not None:
                elapsed = timer.time_elapsed()
                shares.append(elapsed / (elapsed + remaining))
        return min(max(shares), 1.0)

    def _log_likelihood(self, stage: str, loss: Tensor, batch_size: int, sync_dist: bool) -> None:
        settings: dict[str, Any] = {"batch_size": batch_size, "sync_dist": sync_dist}
        self.log(f"{stage}/loss", loss, **settings)
        if self.dequantizer.is_discrete:
            self.log(f"{stage}/bpd", bits_per_dim(-loss.detach(), 0.0, self.flow.dims), **settings)


def _hash(*values: int) -> int:
    """Mix whole numbers into one seed; Python's own hash of a tuple of ints is the same in every process."""
    return hash(values) % 2**63
