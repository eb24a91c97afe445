"""What the callbacks share: TensorBoard writers, and the collection of validation images."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.figure import Figure
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from nf_mnist.errors import check_range
from nf_mnist.training.module import FlowModule


def tensorboard_writers(trainer: L.Trainer) -> Iterator[SummaryWriter]:
    """Yield the TensorBoard writers of a trainer; on all processes but the first there are none."""
    if trainer.is_global_zero:
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                yield logger.experiment


def log_figure(trainer: L.Trainer, tag: str, figure: Figure) -> None:
    """Write a matplotlib figure to each TensorBoard writer."""
    for writer in tensorboard_writers(trainer):
        writer.add_figure(tag, figure, trainer.global_step, close=False)


def flow_module(pl_module: L.LightningModule) -> FlowModule:
    """Return the module under its own class; these callbacks are used with no other."""
    return cast(FlowModule, pl_module)


class ValidationCallback(L.Callback, ABC):
    """Collects data, latents and labels of the first validation images, which validation computes anyway.

    Args:
        n_images: Number of images to collect.

    Raises:
        ConfigError: If ``n_images`` is below 1.
    """

    def __init__(self, n_images: int) -> None:
        check_range(1, n_images=n_images)
        self.n_images = n_images
        self._collected: list[dict[str, Tensor]] = []

    @abstractmethod
    def show(self, trainer: L.Trainer, pl_module: FlowModule, x: Tensor, z: Tensor, labels: Tensor) -> None:
        """Write one view of data x, shape (n, *event), latents z, shape (n, dims), and labels, shape (n,)."""

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._collected = []

    def on_validation_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if sum(len(part["z"]) for part in self._collected) < self.n_images:
            self._collected.append(outputs)

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        keys = ("x", "z", "labels")
        x, z, labels = (torch.cat([part[key] for part in self._collected])[: self.n_images] for key in keys)
        self._collected = []
        self.show(trainer, flow_module(pl_module), x, z, labels)
