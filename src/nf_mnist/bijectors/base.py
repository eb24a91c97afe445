"""The contract of every bijector, and their composition."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

Shape = tuple[int, ...]


class Bijector(nn.Module, ABC):
    """An invertible map from data ``x`` to latent ``z``, with its log-determinant.

    Each direction returns the log-determinant of the map that it has just applied, so the two are negatives of each
    other and ``log p(x) = log p(z) + log_det`` has a plus sign everywhere. Log-determinants are in nats, summed over
    the event (never averaged), of shape (batch,), in the dtype and on the device of the input. Inputs stay unchanged.

    Attributes:
        recompute: Whether the backward pass computes activations anew instead of keeping them (Chen et al. 2016,
            "Training deep nets with sublinear memory cost"): less memory, about a third more time.
    """

    recompute = False

    @abstractmethod
    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map data to latent.

        Args:
            x: Data, shape (batch, *event).
            context: What the map is conditioned on, or None.

        Returns:
            z, shape (batch, *event_out), and log|det dz/dx| in nats, shape (batch,).
        """

    @abstractmethod
    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map latent to data.

        Args:
            z: Latent, shape (batch, *event_out).
            context: What the map is conditioned on, or None.

        Returns:
            x, shape (batch, *event), and log|det dx/dz| in nats, shape (batch,).
        """

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Call :meth:`forward_and_log_det`, so that hooks and summaries see the map."""
        if not (self.recompute and torch.is_grad_enabled()):
            return self.forward_and_log_det(x, context)
        contexts = (nullcontext(), _StatisticsKept(self))  # of the first computation, and of the second
        return checkpoint(self.forward_and_log_det, x, context, use_reentrant=False, context_fn=lambda: contexts)


class _StatisticsKept(AbstractContextManager):
    """Networks' batch normalization leaves its running statistics alone: they have seen this batch before."""

    def __init__(self, module: nn.Module) -> None:
        self.norms = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]

    def __enter__(self) -> None:
        self.momenta = [norm.momentum for norm in self.norms]
        for norm in self.norms:
            norm.momentum = 0.0

    def __exit__(self, *exception: object) -> None:
        for norm, momentum in zip(self.norms, self.momenta, strict=True):
            norm.momentum = momentum


class Sequential(Bijector):
    """The composition of bijectors, first to last in the direction from data to latent; their log-dets add up."""

    def __init__(self, bijectors: Sequence[Bijector]) -> None:
        super().__init__()
        self.bijectors = nn.ModuleList(bijectors)

    def layers(self) -> list[Bijector]:
        """Return the bijectors in order."""
        return [cast(Bijector, bijector) for bijector in self.bijectors]

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        total = x.new_zeros(len(x))
        for bijector in self.layers():
            x, log_det = bijector(x, context)
            total = total + log_det
        return x, total

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        total = z.new_zeros(len(z))
        for bijector in reversed(self.layers()):
            z, log_det = bijector.inverse_and_log_det(z, context)
            total = total + log_det
        return z, total
