"""The last two layers of NICE (Dinh et al. 2015): a scale for each dimension and a logistic prior."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nf_mnist.bijectors.base import Bijector, Shape

FAR = 30.0  # beyond this distance from 0, quantiles are solved for in logarithms
N_NEWTON = 4


class Scaling(Bijector):
    """A learned positive scale for each element, initially 1 (section 3.3).

    Args:
        event_shape: Shape of the event.
    """

    def __init__(self, event_shape: Shape) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(event_shape))

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x * self.log_scale.exp(), self.log_scale.sum().expand(len(x))

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return z * (-self.log_scale).exp(), -self.log_scale.sum().expand(len(z))


class LogisticToNormal(Bijector):
    """The elementwise map that takes a standard logistic variable to a standard normal one.

    As the last layer, it makes the prior of all layers before it a standard logistic distribution (section 3.4), while
    the latents stay standard normal, as all diagnostics expect. The forward map computes in float64. Beyond ``FAR`` it
    solves for the quantile in logarithms, because the tail's probability underflows at a distance of 709.
    """

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        wide = x.double()
        # Quantiles are taken in the nearer tail, where floats are dense.
        z = torch.where(wide < 0, 1.0, -1.0) * _lower_quantile(wide.abs())
        return z.to(x.dtype), _log_det(wide, z).to(x.dtype)

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x = torch.special.log_ndtr(z) - torch.special.log_ndtr(-z)
        return x, -_log_det(x, z)


def _lower_quantile(distance: Tensor) -> Tensor:
    """Return z <= 0 whose normal probability below equals the logistic probability below ``-distance``."""
    near, far = distance.clamp(max=FAR), distance.clamp(min=FAR)
    log_tail = F.logsigmoid(-far)
    with torch.no_grad():
        z = -(2 * far - (4 * math.pi * far).log()).sqrt()  # from the tail's leading terms, phi(z) / |z|
        for _ in range(N_NEWTON):
            z = _newton_step(z, log_tail)
    # The last step starts at the solution, so its derivative is that of the implicit function.
    return torch.where(distance < FAR, torch.special.ndtri(torch.sigmoid(-near)), _newton_step(z, log_tail))


def _newton_step(z: Tensor, log_tail: Tensor) -> Tensor:
    """Improve z as a root of ``log_ndtr(z) = log_tail``."""
    log_cdf = torch.special.log_ndtr(z)
    slope = (_log_normal(z) - log_cdf).exp()
    return z - (log_cdf - log_tail) / slope


def _log_det(logistic: Tensor, normal: Tensor) -> Tensor:
    """Return the log-density of standard logistics less that of standard normals, summed over the event."""
    log_logistic = F.logsigmoid(logistic) + F.logsigmoid(-logistic)
    return (log_logistic - _log_normal(normal)).flatten(1).sum(1)


def _log_normal(z: Tensor) -> Tensor:
    """Return the log-density of a standard normal, elementwise."""
    return -0.5 * (z.square() + math.log(2 * math.pi))
