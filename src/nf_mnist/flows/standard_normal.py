"""The base distribution of the flows here."""

import math

import torch
from torch import Tensor, nn


class StandardNormal(nn.Module):
    """The base distribution: ``dims`` independent standard normals.

    Args:
        dims: Number of dimensions.
    """

    def __init__(self, dims: int) -> None:
        super().__init__()
        self.dims = dims

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log p(z) in nats, shape (batch,), for z of shape (batch, dims)."""
        return -0.5 * (z.square().sum(1) + self.dims * math.log(2 * math.pi))

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw n latents, shape (n, dims), on the CPU in the default dtype.

        A generator gives the same latents on every machine, whether it draws them at once or in several calls. Torch
        fills blocks of 16 numbers and treats the rest of a tensor differently, so each latent draws a multiple of 16.

        Args:
            n: Number of latents.
            generator: A CPU generator; None uses the global random state.
        """
        return torch.randn(n, self.dims + -self.dims % 16, generator=generator)[:, : self.dims]
