"""What every rule and experiment needs of a map, and when two of its results are the same."""

from typing import Protocol

import torch
from torch import Tensor

CACHED = 1e-5  # relative change that a healthy cache of float32 may make, at most


class Invertible(Protocol):
    """What every rule needs of a map."""

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map data to latent; return also log|det dz/dx|, shape (batch,)."""

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map latent to data; return also log|det dx/dz|, shape (batch,)."""


def same(one: Tensor, other: Tensor, relative: float = CACHED) -> bool:
    """Return whether tensors are equal but for a share of the largest number; NaN equals NaN.

    Args:
        one: A tensor.
        other: Another one.
        relative: The share. A cache in float32 may change the default one.
    """
    if one.shape != other.shape or not (one.is_floating_point() and other.is_floating_point()):
        return one.shape == other.shape and torch.equal(one, other)
    finite = one[one.isfinite()].abs()
    tolerance = relative * (finite.max().item() if finite.numel() else 0.0)
    return torch.allclose(one.double(), other.double(), rtol=0, atol=tolerance, equal_nan=True)


def decoded_again(bijector: Invertible, x: Tensor) -> Tensor:
    """Return what the inverse makes of the latents of events, shape of x."""
    z, _ = bijector.forward_and_log_det(x)
    return bijector.inverse_and_log_det(z)[0].reshape(x.shape)
