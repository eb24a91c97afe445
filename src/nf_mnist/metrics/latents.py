"""Statistics of latents, which are standard normal if the flow is perfect."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

MEAN_RANGE, STD_RANGE = 0.5, (0.5, 2.0)  # outside of them a dimension is an offender


class Radius(NamedTuple):
    """Mean and standard deviation of the norms of latents: 27.99 and 0.707 for a standard normal of 784 dimensions."""

    mean: float
    std: float


class Offenders(NamedTuple):
    """Dimensions of z whose moments are far from those of a standard normal.

    Attributes:
        share: Share of the dimensions whose mean is outside [-0.5, 0.5] or standard deviation outside [0.5, 2].
        worst: Index of the worst dimension.
        mean: Mean of the worst dimension.
        std: Standard deviation of the worst dimension.
    """

    share: float
    worst: int
    mean: float
    std: float


def radius(z: Tensor) -> Radius:
    """Return mean and standard deviation of the norms of latents, shape (batch, dims)."""
    norms = z.double().norm(dim=1)
    return Radius(norms.mean().item(), norms.std().item() if len(norms) > 1 else float("nan"))


def moments(z: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each dimension, shape (dims,), of latents of shape (batch, dims)."""
    return z.mean(0), z.std(0)


def offenders(z: Tensor) -> Offenders:
    """Find the dimensions of latents, shape (batch, dims), whose moments are far from those of a standard normal."""
    mean, std = moments(z.double())
    within = (mean.abs() <= MEAN_RANGE) & (std >= STD_RANGE[0]) & (std <= STD_RANGE[1])
    off = torch.maximum(mean.abs(), std.clamp(min=1e-12).log().abs()).nan_to_num(torch.inf)
    worst = int(off.argmax())
    return Offenders((~within).double().mean().item(), worst, mean[worst].item(), std[worst].item())


def random_projection(z: Tensor, seed: int) -> Tensor:
    """Project latents, shape (batch, dims), orthogonally on a random plane. Returns shape (batch, 2)."""
    directions = torch.randn(z.shape[1], 2, generator=torch.Generator().manual_seed(seed))
    basis, _ = torch.linalg.qr(directions)
    return z @ basis.to(z)


def projection_distance(z: Tensor, n_directions: int = 64, seed: int = 0) -> float:
    """Return how far latents, shape (batch, dims), projected on random lines, are from a standard normal.

    The result is the largest Kolmogorov distance over the lines, between 0 and 1. For n exact draws and 64 directions
    it is about ``1.8 / sqrt(n)``.
    """
    directions = torch.randn(z.shape[1], n_directions, generator=torch.Generator().manual_seed(seed))
    projected = (z.double() @ (directions / directions.norm(dim=0)).to(z.device).double()).sort(0).values
    steps = torch.arange(len(z) + 1, device=z.device).double()[:, None] / len(z)
    expected = torch.special.ndtr(projected)
    return torch.maximum((expected - steps[:-1]).abs(), (expected - steps[1:]).abs()).max().item()


def chi_moments(dims: int) -> tuple[float, float]:
    """Return mean and standard deviation of the norm of ``dims`` standard normals: 27.99 and 0.707 for 784."""
    mean = math.sqrt(2) * math.exp(math.lgamma((dims + 1) / 2) - math.lgamma(dims / 2))
    return mean, math.sqrt(dims - mean**2)
