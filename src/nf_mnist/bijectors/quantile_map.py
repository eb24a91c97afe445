"""The monotone map between a distribution over 256 grey levels and a standard normal.

A level ``v`` with probability ``p`` owns the box [v / 256, (v + 1) / 256). Inside it the distribution function rises
linearly, so the density of x is constant on each box, ``log p(x) = log p(v) + log 256``, whatever the dither; the
normal quantile of the distribution function is then exactly standard normal. A distribution is given by its *edges*:
for ``k`` in 0 .. 256 the probability below edge ``k`` and the one above it. Both are needed: a quantile is taken from
the nearer tail, where floats are dense.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

N_LEVELS = 256
UNIFORM_SHARE = 2.0**-12  # of a uniform distribution in each mixture: costs 0.0004 bpd, keeps float32 invertible
SMALLEST_FRACTION = 2.0**-16  # that dithering with 15 bits draws; level + 1 - this is exact in float32

Edges = Callable[[Tensor], tuple[Tensor, Tensor]]


def level_and_fraction(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the level of x in (0, 1) as a float, and where x lies in the level's box, strictly inside (0, 1)."""
    scaled = x * N_LEVELS
    level = scaled.floor().clamp(0, N_LEVELS - 1)
    return level, (scaled - level).clamp(SMALLEST_FRACTION, 1 - SMALLEST_FRACTION)


def to_normal(fraction: Tensor, probability: Tensor, below: Tensor, above: Tensor) -> tuple[Tensor, Tensor]:
    """Map a place in a level's box to the normal quantile.

    Args:
        fraction: Place in the box, in (0, 1).
        probability: Of the level.
        below: Probability of all levels below it.
        above: Probability of all levels above it.

    Returns:
        z, and the elementwise log|dz/dx| in nats.
    """
    left, right = below + fraction * probability, above + (1 - fraction) * probability
    # A level of probability 0 is log p = -inf; its quantile stays finite, or their sum would be no number.
    tail = torch.minimum(left, right).clamp(min=torch.finfo(left.dtype).tiny)
    z = torch.special.ndtri(tail) * torch.where(left < right, 1.0, -1.0).to(left)
    log_normal = -0.5 * (z.square() + math.log(2 * math.pi))
    return z, probability.log() + math.log(N_LEVELS) - log_normal


def from_normal(z: Tensor, edges: Edges, probability_of: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Invert :func:`to_normal`: find the level by bisection over the edges, then the place in its box.

    Args:
        z: Normal quantiles.
        edges: Given edges ``k`` (a float tensor of z's shape), the probabilities below and above them.
        probability_of: Given levels, their probabilities.

    Returns:
        x in (0, 1), and the elementwise log|dx/dz| in nats.
    """
    is_left = z < 0
    tail = torch.special.ndtr(-z.abs())
    level = torch.zeros_like(z)
    step = N_LEVELS // 2
    while step >= 1:
        below, above = edges(level + step)
        level = torch.where(torch.where(is_left, below <= tail, above >= tail), level + step, level)
        step //= 2
    probability = probability_of(level)
    from_left = (tail - edges(level)[0]) / probability
    from_right = 1 - (tail - edges(level + 1)[1]) / probability
    fraction = torch.where(is_left, from_left, from_right).clamp(SMALLEST_FRACTION, 1 - SMALLEST_FRACTION)
    log_normal = -0.5 * (z.square() + math.log(2 * math.pi))
    return (level + fraction) / N_LEVELS, log_normal - probability.log() - math.log(N_LEVELS)
