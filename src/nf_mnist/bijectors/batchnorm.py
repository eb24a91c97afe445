"""Batch normalisation as a bijector (Dinh et al. 2017, section 3.7 and appendix E)."""

import torch
from torch import Tensor, nn

from nf_mnist.bijectors.base import Bijector, Shape
from nf_mnist.bijectors.statistics import batch_moments, statistics_shape
from nf_mnist.errors import ConfigError, NotInvertibleError

POLICIES = ("batch", "running")


class BatchNorm(Bijector):
    """Normalise each channel (or each dimension of a flat event), then scale and shift it by learned amounts.

    In evaluation the map uses the running statistics and is a fixed affine map. In training there are two policies:

    - ``batch`` normalises by the statistics of the current batch. Samples in a batch then depend on each other, so the
      map has no inverse, and asking for one raises an error.
    - ``running`` (Real NVP's appendix E) first mixes the current batch into the running statistics, then normalises by
      those. Gradients flow through the share of the current batch. This is robust to small batches.

    Args:
        event_shape: (channels, height, width) or (dims,).
        momentum: Weight of the *new* batch in the running statistics, as in PyTorch. CP3 (a simplified Real NVP known
            to us only from its authors' report) gives the weight of the *old* value; its 0.1 is 0.9 here.
        policy: ``batch`` or ``running``.
        eps: Added to the variance; it bounds the scale by ``eps ** -0.5``.

    Raises:
        ConfigError: If the policy is unknown, or momentum or eps is out of range.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, event_shape: Shape, momentum: float = 0.1, policy: str = "batch", eps: float = 1e-5) -> None:
        super().__init__()
        if policy not in POLICIES:
            raise ConfigError(f"unknown batchnorm policy {policy!r}; choose one of {', '.join(POLICIES)}")
        if not 0 < momentum <= 1 or eps <= 0:
            raise ConfigError(f"batchnorm needs 0 < momentum <= 1 and eps > 0, got {momentum} and {eps}")
        shape = statistics_shape(event_shape)
        self.elements_per_statistic = torch.Size(event_shape).numel() // torch.Size(shape).numel()
        self.momentum, self.policy, self.eps = momentum, policy, eps
        self.log_gamma = nn.Parameter(torch.zeros(shape))
        self.beta = nn.Parameter(torch.zeros(shape))
        self.register_buffer("running_mean", torch.zeros(shape))
        self.register_buffer("running_var", torch.ones(shape))

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        mean, variance = self._training_moments(x) if self.training else (self.running_mean, self.running_var)
        log_scale = self._log_scale(variance)
        return (x - mean) * log_scale.exp() + self.beta, self._log_det(log_scale, x)

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if self.training and self.policy == "batch":
            raise NotInvertibleError(
                "BatchNorm with batch statistics has no inverse in training mode; call flow.eval() first"
            )
        log_scale = self._log_scale(self.running_var)
        return (z - self.beta) * (-log_scale).exp() + self.running_mean, -self._log_det(log_scale, z)

    def _training_moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Update the running statistics; return the mean and variance that the policy normalises by."""
        mean, variance = batch_moments(x, min_count=2 if self.policy == "batch" else 1)
        mixed_mean = torch.lerp(self.running_mean, mean, self.momentum)
        mixed_variance = torch.lerp(self.running_var, variance, self.momentum)
        self.running_mean.copy_(mixed_mean.detach())
        self.running_var.copy_(mixed_variance.detach())
        return (mean, variance) if self.policy == "batch" else (mixed_mean, mixed_variance)

    def _log_scale(self, variance: Tensor) -> Tensor:
        return self.log_gamma - 0.5 * torch.log(variance + self.eps)

    def _log_det(self, log_scale: Tensor, like: Tensor) -> Tensor:
        return (self.elements_per_statistic * log_scale.sum()).expand(len(like))
