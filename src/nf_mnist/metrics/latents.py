"""Is z what the prior says it is?"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

MEAN_RANGE, STD_RANGE = 0.5, (0.5, 2.0)  # beyond which a dimension is off


class Radius(NamedTuple):
    """Mean and standard deviation of the norms of latents; a standard normal of 784 dimensions has 27.99 and 0.707."""

    mean: float
    std: float


class Offenders(NamedTuple):
    """Dimensions of z that are no standard normal.

    Attributes:
        share: Of the dimensions, those whose mean is beyond +-0.5 or whose standard deviation is outside [0.5, 2].
        worst: Number of the dimension that is furthest off; its mean and standard deviation follow.
        mean: Its mean.
        std: Its standard deviation.
    """

    share: float
    worst: int
    mean: float
    std: float


def radius(z: Tensor) -> Radius:
    """Measure the norms of latents, shape (batch, dims)."""
    norms = z.double().norm(dim=1)
    return Radius(norms.mean().item(), norms.std().item() if len(norms) > 1 else float("nan"))


def moments(z: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each dimension, shape (dims,), of latents of shape (batch, dims)."""
    return z.mean(0), z.std(0)


def offenders(z: Tensor) -> Offenders:
    """Find the dimensions of latents, shape (batch, dims), whose mean or standard deviation is far off."""
    mean, std = moments(z.double())
    within = (mean.abs() <= MEAN_RANGE) & (std >= STD_RANGE[0]) & (std <= STD_RANGE[1])
    off = torch.maximum(mean.abs(), std.clamp(min=1e-12).log().abs()).nan_to_num(torch.inf)
    worst = int(off.argmax())
    return Offenders((~within).double().mean().item(), worst, mean[worst].item(), std[worst].item())


def random_projection(z: Tensor, seed: int) -> Tensor:
    """Project latents, shape (batch, dims), on a random plane; a standard normal stays one. Shape (batch, 2)."""
    directions = torch.randn(z.shape[1], 2, generator=torch.Generator().manual_seed(seed))
    basis, _ = torch.linalg.qr(directions)
    return z @ basis.to(z)


def projection_distance(z: Tensor, n_directions: int = 64, seed: int = 0) -> float:
    """Return how far projections of latents, shape (batch, dims), on random lines are from a standard normal.

    The largest of the Kolmogorov distances of their distribution functions, between 0 and 1; of n exact draws it is
    about ``1.8 / sqrt(n)`` for 64 directions.
    """
    directions = torch.randn(z.shape[1], n_directions, generator=torch.Generator().manual_seed(seed))
    projected = (z.double() @ (directions / directions.norm(dim=0)).to(z.device).double()).sort(0).values
    steps = torch.arange(len(z) + 1, device=z.device).double()[:, None] / len(z)
    expected = torch.special.ndtr(projected)
    return torch.maximum((expected - steps[:-1]).abs(), (expected - steps[1:]).abs()).max().item()


def chi_moments(dims: int) -> tuple[float, float]:
    """Mean and standard deviation of the norm of ``dims`` independent standard normals: 27.99 and 0.707 for 784."""
    mean = math.sqrt(2) * math.exp(math.lgamma((dims + 1) / 2) - math.lgamma(dims / 2))
    return mean, math.sqrt(dims - mean**2)
