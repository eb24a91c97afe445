"""What a flow's base distribution says of itself: its moments, the norms of its latents, and whether it sums to 1."""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nf_mnist.diagnostics.access.isolation import copied
from nf_mnist.metrics import chi_moments
from nf_mnist.metrics.latents import Radius, radius

N_DRAWS = 2000  # latents that tell the moments of a base whose density is not Gaussian
N_PAIRS = 4  # of points whose dimensions are exchanged
N_STEPS, STEPS_PER_STD = 60, 5  # of a sum along an axis to each side of a point


class Prior(NamedTuple):
    """The base distribution as a standard for latents.

    Attributes:
        mean: Mean of each dimension, shape (dims,).
        std: Standard deviation of each dimension, shape (dims,).
        norm: Mean and deviation of the norm of ``(z - mean) / std``.
        excess: By how many nats the log-density of a Gaussian base exceeds that of a normalized one; None if the base
            is no Gaussian with independent dimensions, so that its integral is not known here.
    """

    mean: Tensor
    std: Tensor
    norm: Radius
    excess: float | None

    def standardized(self, z: Tensor) -> Tensor:
        """Return latents that are standard normal if they have the distribution of a Gaussian base."""
        return (z - self.mean.to(z)) / self.std.to(z)

    @property
    def is_gaussian(self) -> bool:
        """Whether the base is a Gaussian with independent dimensions."""
        return self.excess is not None


@torch.no_grad()
def read_prior(base: Any, dims: int, device: torch.device) -> Prior:
    """Ask a base distribution for its moments.

    Args:
        base: An object with ``log_prob(z)`` and ``sample(n, generator)``.
        dims: Number of dimensions of a latent.
        device: Device of the base.
    """
    gaussian = _as_gaussian(base, dims, device)
    if gaussian is not None:
        return gaussian
    z = draws(base)
    mean, std = z.mean(0), z.std(0).clamp(min=1e-12)
    return Prior(mean, std, radius((z - mean) / std), None)


def _as_gaussian(base: Any, dims: int, device: torch.device) -> Prior | None:
    """Return the prior if the log-density is a sum of concave parabolas, one for each dimension."""
    base = in_double(base)
    zero, steps = torch.zeros(1, dims, dtype=torch.float64, device=device), torch.eye(dims).double().to(device)
    at_zero, above, below = base.log_prob(zero), base.log_prob(steps), base.log_prob(-steps)
    slope, curvature = (above - below) / 2, above + below - 2 * at_zero
    if not (curvature < 0).all():
        return None
    points = torch.randn(4, dims, generator=torch.Generator().manual_seed(0)).double().to(device)
    expected = at_zero + points @ slope + 0.5 * points.square() @ curvature
    if not torch.allclose(base.log_prob(points), expected, rtol=1e-5, atol=1e-5 * dims):
        return None
    variance, largest = -1 / curvature, at_zero - 0.5 * (slope.square() / curvature).sum()
    excess = largest + 0.5 * (2 * math.pi * variance).log().sum()
    return Prior(slope * variance, variance.sqrt(), Radius(*chi_moments(dims)), excess.item())


def in_double(base: Any) -> Any:
    """Return a copy of a base distribution in float64; the base itself if it has no parameters to convert."""
    return copied(base).double() if hasattr(base, "double") else base


def draws(base: Any, n: int = N_DRAWS) -> Tensor:
    """Return n draws of a base distribution in float64, always the same, shape (n, dims)."""
    z: Tensor = base.sample(n, torch.Generator().manual_seed(0))
    return z.detach().double()


@torch.no_grad()
def excess_by_sums(base: Any) -> float | None:
    """Return by how many nats a log-density exceeds a normalized one; None if its dimensions are not independent.

    Of independent dimensions, the density along one axis, over that at a point, integrates to 1 over the density of
    this dimension at the point. The product over all axes is 1 over the whole density there.

    Args:
        base: An object with ``log_prob(z)`` and ``sample(n, generator)``.
    """
    base = in_double(base)
    z = draws(base)
    if not _is_independent(base, z):
        return None
    point, reference = z[:1], base.log_prob(z[:1])
    steps = torch.arange(-N_STEPS, N_STEPS + 1, dtype=torch.float64, device=z.device) / STEPS_PER_STD
    low, high = z.quantile(torch.tensor([0.16, 0.84]).to(z), dim=0)
    excess = reference.squeeze(0)
    for i, deviation in enumerate((high - low).clamp(min=1e-12) / 2):
        line = point.repeat(len(steps), 1)
        line[:, i] += steps * deviation
        excess = excess + (base.log_prob(line) - reference).logsumexp(0) + (deviation / STEPS_PER_STD).log()
    return excess.item()


def _is_independent(base: Any, z: Tensor) -> bool:
    """Return whether dimensions of two points can be exchanged without a change of the product of their densities."""
    one, other = z[:N_PAIRS], z[N_PAIRS : 2 * N_PAIRS]
    is_first = torch.rand(one.shape, generator=torch.Generator().manual_seed(0)).to(z) < 0.5
    mixed = base.log_prob(one.where(is_first, other)) + base.log_prob(other.where(is_first, one))
    apart = base.log_prob(one) + base.log_prob(other)
    return torch.allclose(mixed, apart, rtol=1e-6, atol=1e-6 * z.shape[1])
