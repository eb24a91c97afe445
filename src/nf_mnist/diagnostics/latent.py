"""Is z what the prior says it is?"""

from typing import NamedTuple

import torch
from torch import Tensor


class Radius(NamedTuple):
    """Mean and standard deviation of the norms of latents; a standard normal of 784 dimensions has 27.99 and 0.707."""

    mean: float
    std: float


def radius(z: Tensor) -> Radius:
    """Measure the norms of latents, shape (batch, dims)."""
    norms = z.double().norm(dim=1)
    return Radius(norms.mean().item(), norms.std().item() if len(norms) > 1 else float("nan"))


def moments(z: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each dimension, shape (dims,), of latents of shape (batch, dims)."""
    return z.mean(0), z.std(0)


def random_projection(z: Tensor, seed: int) -> Tensor:
    """Project latents, shape (batch, dims), on a random plane; a standard normal stays one. Shape (batch, 2)."""
    directions = torch.randn(z.shape[1], 2, generator=torch.Generator().manual_seed(seed))
    basis, _ = torch.linalg.qr(directions)
    return z @ basis.to(z)
