"""Samples that a sigmoid has rounded, so that their latents are lost."""

from typing import Any

import torch
from torch import Tensor

from nf_mnist.diagnostics.measures.prior import Prior, draws

NEAR = 1e-6  # distance from an end of the range of samples, within which a sigmoid has few values in float32
FAR = 2.0  # times the largest latent of all draws of the prior


@torch.no_grad()
def saturated(x: Tensor, z: Tensor, base: Any, prior: Prior) -> Tensor:
    """Return which samples have a pixel at 0, at 1 or beyond and no latent of the prior, shape (n,).

    Their latents are not finite; or they are farther out than any draw of the prior, and a pixel is at an end of the
    range of samples: its least or largest value, if several pixels have it.

    Args:
        x: Samples, shape (n, *event).
        z: Their latents as they are encoded again, shape (n, dims).
        base: The base distribution.
        prior: Its moments.
    """
    x = x.flatten(1).nan_to_num(0.5)
    is_far = (prior.standardized(z).abs() > FAR * prior.standardized(draws(base)).abs().max()).any(1)
    is_outside = (x <= 0) | (x >= 1)
    is_at_end = torch.zeros_like(is_outside)
    for end in (x.min(), x.max()):
        if (x == end).sum() > 1:
            is_at_end |= (x - end).abs() <= NEAR
    return is_outside.any(1) & ~z.isfinite().all(1) | (is_outside & is_at_end).any(1) & is_far
