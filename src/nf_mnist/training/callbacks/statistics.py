"""BatchNorm statistics of the present weights, measured before each validation."""

import itertools
from typing import Any, cast

import lightning as L
import torch
from torch import nn

from nf_mnist.bijectors import BatchNorm
from nf_mnist.data import draw_noise
from nf_mnist.training.callbacks.base import check_counts, flow_module


class RecomputeStatistics(L.Callback):
    """Measure the running statistics of every BatchNorm anew on training images before each validation.

    Running averages lag behind moving weights; a flow multiplies what little they are off by. The statistics are
    plain averages over batches (Wu and Johnson 2021, "Rethinking Batch in BatchNorm", section 3.2), of the flow's
    BatchNorm and of those inside its networks.

    Args:
        n_batches: Training batches to average over; the whole training set if null.
        seed: Of the dequantization noise.

    Raises:
        ConfigError: If there are no batches to average over.
    """

    def __init__(self, n_batches: int | None, seed: int = 0) -> None:
        if n_batches is not None:
            check_counts(n_batches=n_batches)
        self.n_batches, self.seed = n_batches, seed

    @torch.no_grad()
    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        module, datamodule = flow_module(pl_module), cast(Any, trainer).datamodule
        norms = [m for m in module.flow.modules() if isinstance(m, BatchNorm | nn.modules.batchnorm._BatchNorm)]
        momenta = [norm.momentum for norm in norms]
        module.flow.train()
        with torch.random.fork_rng(devices=[module.device] if module.device.type == "cuda" else []):
            torch.manual_seed(self.seed)
            for done, (levels, labels) in enumerate(itertools.islice(datamodule.train_dataloader(), self.n_batches)):
                for norm in norms:
                    norm.momentum = 1 / (done + 1)  # makes the running average a plain one
                levels = levels.to(module.device)
                x, _ = module.dequantizer(levels, draw_noise(levels))
                module.flow(x, module.flow.context(labels.to(module.device)))
        module.flow.eval()
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
