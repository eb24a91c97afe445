"""The Lightning module of a flow: augment, dequantize, maximize the likelihood, validate in float32."""

from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor

from nf_mnist.data import Dequantizer, draw_noise, evaluation_noise, random_distortion, random_shift
from nf_mnist.flows import Flow
from nf_mnist.hardware import seeded
from nf_mnist.metrics import bits_per_dim, has_bits
from nf_mnist.training.loader import Batch, EvaluationLoader
from nf_mnist.training.rerendering import Rerendering
from nf_mnist.training.schedule import Schedule
from nf_mnist.training.scheduled_module import OptimizerFactory, ScheduledModule


class FlowModule(ScheduledModule):
    """Trains a flow, by maximum likelihood unless it has another loss.

    The loss is that of the flow, the mean negative log-likelihood in nats per image unless the flow has another. Bits
    per dimension are logged beside likelihoods where the data has them.

    Args:
        flow: The flow to train.
        dequantizer: Maps levels to the flow's data; its parameters are trained with those of the flow, on the same
            bound.
        optimizer: Builds the optimizer from the parameters and their names.
        schedule: Schedule of the learning rate.
        seed: Seed for the training noise.
        max_shift: Largest shift of a training image in pixels; see :func:`~nf_mnist.data.random_shift`.
        distortion: Size of the distortion of a training image; see :func:`~nf_mnist.data.random_distortion`.
        rerendering: Draws training images anew before they are distorted and shifted, or None.
    """

    def __init__(
        self,
        flow: Flow,
        dequantizer: Dequantizer,
        optimizer: OptimizerFactory,
        schedule: Schedule,
        seed: int,
        max_shift: int,
        distortion: float,
        rerendering: Rerendering | None = None,
    ) -> None:
        super().__init__(optimizer, schedule, seed)
        self.flow = flow
        self.dequantizer = dequantizer
        self.max_shift = max_shift
        self.distortion = distortion
        self.rerendering = rerendering
        self.has_bits = has_bits(flow, dequantizer)

    def fit_to(self, levels: Tensor) -> None:
        """Fit what is counted and not trained to the training images, before the first step.

        Args:
            levels: All training images, shape (n, *event_shape) and dtype uint8.

        Raises:
            DataError: If the images are not of the kind that a level prior or an augmentation is for.
        """
        if self.rerendering is not None:
            self.rerendering.check_fit(levels)
        self.flow.bijector.fit(levels)

    def loss(self, batch: Batch) -> Tensor:
        """Return the loss of the flow on a training batch, which is augmented and dequantized."""
        levels, labels = batch
        if self.rerendering is not None:
            levels = self.rerendering(levels)
        levels = random_shift(random_distortion(levels, self.distortion), self.max_shift)
        x, log_q = self.dequantizer(levels, draw_noise(levels))
        return self.flow.training_loss(x, log_q, self.flow.training_context(levels, labels))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = self.loss(batch)
        self._log_loss("train", loss, len(batch[0]), self.flow.loss_is_likelihood, sync_dist=False)
        return loss

    def on_validation_start(self) -> None:
        """Copy the buffers of the first process, which it saves, to all others: their BatchNorm statistics differ."""
        if dist.is_available() and dist.is_initialized():
            for buffer in self.buffers():
                dist.broadcast(buffer, src=0)

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Score a batch; return ``x``, ``z`` and ``labels``, so that callbacks need no second pass through the flow."""
        levels, labels = batch
        loader = cast(EvaluationLoader, self.trainer.val_dataloaders)
        index = loader.indices(batch_idx).to(levels.device)
        noise = evaluation_noise(index, levels.shape[1:], draw=0, seed=0)
        with seeded(batch_idx), torch.autocast(levels.device.type, enabled=False):
            x, log_q = self.dequantizer(levels, noise)
            z, log_prob = self.flow(x, self.flow.validation_context(levels, labels))
        self._log_loss("val", (log_q - log_prob).mean(), len(levels), is_likelihood=True, sync_dist=True)
        return {"x": x, "z": z, "labels": labels}

    def _log_loss(self, stage: str, loss: Tensor, batch_size: int, is_likelihood: bool, sync_dist: bool) -> None:
        # Lightning averages the batch size over processes; the average of integers would lose its fraction.
        settings: dict[str, Any] = {"batch_size": float(batch_size), "sync_dist": sync_dist}
        self.log(f"{stage}/loss", loss, **settings)
        if self.has_bits and is_likelihood:
            self.log(f"{stage}/bpd", bits_per_dim(-loss.detach(), 0.0, self.flow.dims), **settings)
