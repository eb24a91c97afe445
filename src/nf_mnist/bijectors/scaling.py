"""The two last layers of NICE (Dinh et al. 2015): a scale for each dimension, and its logistic prior."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nf_mnist.bijectors.base import Bijector, Shape


class Scaling(Bijector):
    """A learned positive scale for each element, 1 to begin with (section 3.3)."""

    def __init__(self, event_shape: Shape) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(event_shape))

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x * self.log_scale.exp(), self.log_scale.sum().expand(len(x))

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return z * (-self.log_scale).exp(), -self.log_scale.sum().expand(len(z))


class LogisticToNormal(Bijector):
    """The normal quantile of the standard logistic distribution function, elementwise.

    As the last layer it makes the prior of everything before it a standard logistic one (section 3.4), while latents
    stay standard normal, as all diagnostics expect. The forward map computes in float64, where the logistic tails reach
    700; in float32 they would end at 88.
    """

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        wide = x.double()
        # Quantiles are taken from the nearer tail, where floats are dense.
        z = torch.where(wide < 0, 1.0, -1.0) * torch.special.ndtri(torch.sigmoid(-wide.abs()))
        return z.to(x.dtype), _log_det(wide, z).to(x.dtype)

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = torch.special.log_ndtr(z) - torch.special.log_ndtr(-z)
        return x, -_log_det(x, z)


def _log_det(logistic: Tensor, normal: Tensor) -> Tensor:
    """Return the log-density of standard logistics less that of standard normals, summed over the event."""
    log_logistic = F.logsigmoid(logistic) + F.logsigmoid(-logistic)
    log_normal = -0.5 * (normal.square() + math.log(2 * math.pi))
    return (log_logistic - log_normal).flatten(1).sum(1)
