"""BatchNorm statistics of the present weights, measured before each validation."""

import itertools
from typing import Any, cast

import lightning as L
import torch
from torch import nn

from nf_mnist.bijectors import BatchNorm
from nf_mnist.data import draw_noise
from nf_mnist.errors import check_range
from nf_mnist.hardware import seeded
from nf_mnist.training.callbacks.base import flow_module


class RecomputeStatistics(L.Callback):
    """Measure the running statistics of every BatchNorm anew on training images before each validation.

    Running averages lag behind the weights, and a flow amplifies small errors in them. The new statistics are plain
    averages over batches (Wu and Johnson 2021, "Rethinking Batch in BatchNorm", section 3.2), for BatchNorm as a layer
    of the flow and inside its networks. Images are dequantized and conditioned as in training, and not augmented.
    Nothing is done for a flow without BatchNorm.

    Args:
        n_batches: Number of training batches to average over; None takes the whole training set.
        seed: Seed for the dequantization noise and for what the flow draws as its training context.

    Raises:
        ConfigError: If ``n_batches`` is below 1.
    """

    def __init__(self, n_batches: int | None, seed: int = 0) -> None:
        if n_batches is not None:
            check_range(1, n_batches=n_batches)
        self.n_batches, self.seed = n_batches, seed

    @torch.no_grad()
    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        module, datamodule = flow_module(pl_module), cast(Any, trainer).datamodule
        norms = [m for m in module.flow.modules() if isinstance(m, BatchNorm | nn.modules.batchnorm._BatchNorm)]
        if not norms:
            return
        momenta = [norm.momentum for norm in norms]
        module.flow.train()
        with seeded(self.seed):
            for n_done, batch in enumerate(itertools.islice(datamodule.train_dataloader(), self.n_batches)):
                for norm in norms:
                    norm.momentum = 1 / (n_done + 1)  # makes the running average a plain one
                levels, labels = (part.to(module.device) for part in batch)
                x, _ = module.dequantizer(levels, draw_noise(levels))
                module.flow(x, module.flow.training_context(levels, labels))
        module.flow.eval()
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
