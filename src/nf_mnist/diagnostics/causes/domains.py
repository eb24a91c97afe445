"""Inverses that return values of an interval only, and maps that wrap values around."""

import torch
from torch import Tensor

from nf_mnist.diagnostics.access.invertible import Invertible, decoded_again

MIN_VALUES = 8  # that must agree, so that they do not by chance
NEARLY_ALL = 0.9  # of the values beyond the interval; others follow errors of elements that they depend on
NEAR = 1e-4  # of the length of the interval, within which a search ends at its bound
EXACT = 1e-6  # error of values that come back, relative to the largest one


@torch.no_grad()
def ends_of_inverse(bijector: Invertible, x: Tensor) -> tuple[float, float] | None:
    """Return the least and the largest value that an inverse returns, if data beyond them come back there; else None.

    Args:
        bijector: The map.
        x: Events that do not come back, shape (batch, *event).
    """
    back = decoded_again(bijector, x)
    low, high = back.min().item(), back.max().item()
    tolerance = NEAR * (high - low)
    above, below = x > high + tolerance, x < low - tolerance
    at_ends = (above & (back > high - tolerance)) | (below & (back < low + tolerance))
    n_beyond = int((above | below).sum())
    return (low, high) if n_beyond >= MIN_VALUES and at_ends.sum() >= NEARLY_ALL * n_beyond else None


@torch.no_grad()
def period_of(bijector: Invertible, x: Tensor) -> float | None:
    """Return by which number several values come back displaced, as others that depend on them may not; else None.

    Args:
        bijector: The map.
        x: Events that do not come back, shape (batch, *event).
    """
    moved = (decoded_again(bijector, x) - x).abs()
    moved = moved[moved > EXACT * (1 + x.abs().max())]
    if not moved.numel():
        return None
    sizes, counts = (moved / EXACT).round().unique(return_counts=True)
    return EXACT * sizes[counts.argmax()].item() if counts.max() >= MIN_VALUES else None
