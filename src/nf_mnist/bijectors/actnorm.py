"""Activation normalisation (Kingma and Dhariwal 2018, "Glow", section 3.1)."""

from typing import Any

import torch
from torch import Tensor, nn

from nf_mnist.bijectors.base import Bijector, Shape
from nf_mnist.bijectors.statistics import batch_moments, statistics_shape
from nf_mnist.errors import ConfigError


class ActNorm(Bijector):
    """Learned scale and shift per channel (or per dimension), initialized from the first training batch.

    The first batch gives each channel mean 0 and variance 1. From then on scale and shift are ordinary parameters, so
    training and evaluation compute the same map. Before the first batch the map is the identity.

    Args:
        event_shape: (channels, height, width) or (dims,).
        eps: Added to the variance of the first batch; it bounds the initial scale by ``eps ** -0.5``.

    Raises:
        ConfigError: If eps is not positive.
    """

    initialized: Tensor

    def __init__(self, event_shape: Shape, eps: float = 1e-5) -> None:
        super().__init__()
        if eps <= 0:
            raise ConfigError(f"actnorm needs eps > 0, got {eps}")
        shape = statistics_shape(event_shape)
        self.elements_per_statistic = torch.Size(event_shape).numel() // torch.Size(shape).numel()
        self.eps = eps
        self.log_scale = nn.Parameter(torch.zeros(shape))
        self.shift = nn.Parameter(torch.zeros(shape))
        self.register_buffer("initialized", torch.tensor(False))
        self._settled = False  # a copy of the flag on the host, so that steps need not wait for the device

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if self.training and not self._settled:
            self._initialize_once(x)
        return x * self.log_scale.exp() + self.shift, self._log_det(x)

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return (z - self.shift) * (-self.log_scale).exp(), -self._log_det(z)

    def _load_from_state_dict(self, *args: Any) -> None:
        super()._load_from_state_dict(*args)
        self._settled = False

    @torch.no_grad()
    def _initialize_once(self, x: Tensor) -> None:
        if not self.initialized:
            mean, variance = batch_moments(x)
            self.log_scale.copy_(-0.5 * torch.log(variance + self.eps))
            self.shift.copy_(-mean * self.log_scale.exp())
            self.initialized.fill_(True)
        self._settled = True

    def _log_det(self, like: Tensor) -> Tensor:
        return (self.elements_per_statistic * self.log_scale.sum()).expand(len(like))
