"""The monotone map between a distribution over 256 grey levels and a standard normal.

A level ``v`` with probability ``p(v)`` covers the box [v / 256, (v + 1) / 256). In it the distribution function rises
linearly, so the density of x is constant there, ``log p(x) = log p(v) + log 256``, wherever dithering puts x. The
normal quantile of the distribution function is then exactly standard normal. A distribution is given by its *edges*:
for ``k`` in 0 .. 256, the probabilities below and above edge ``k``. Both are needed, because quantiles are taken in the
nearer tail, where floats are dense.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

N_LEVELS = 256
# Weight of a uniform distribution in each mixture; it costs 0.0004 bpd and keeps the map invertible in float32.
UNIFORM_SHARE = 2.0**-12
# The smallest fraction that dithering with 15 bits draws; level + 1 - SMALLEST_FRACTION is exact in float32.
SMALLEST_FRACTION = 2.0**-16

Edges = Callable[[Tensor], tuple[Tensor, Tensor]]


def level_and_fraction(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the level of x in (0, 1) as a float, and the position of x in the level's box, strictly in (0, 1)."""
    scaled = x * N_LEVELS
    level = scaled.floor().clamp(0, N_LEVELS - 1)
    return level, (scaled - level).clamp(SMALLEST_FRACTION, 1 - SMALLEST_FRACTION)


def to_normal(fraction: Tensor, probability: Tensor, below: Tensor, above: Tensor) -> tuple[Tensor, Tensor]:
    """Map positions in the boxes of levels to normal quantiles.

    Args:
        fraction: Position in the box, in (0, 1).
        probability: Probability of the level.
        below: Probability of all lower levels.
        above: Probability of all higher levels.

    Returns:
        z, and the elementwise log|dz/dx| in nats.
    """
    left, right = below + fraction * probability, above + (1 - fraction) * probability
    # A level of probability 0 has log p = -inf; its quantile must stay finite, or their sum would be NaN.
    tail = torch.minimum(left, right).clamp(min=torch.finfo(left.dtype).tiny)
    z = torch.special.ndtri(tail) * torch.where(left < right, 1.0, -1.0).to(left)
    log_normal = -0.5 * (z.square() + math.log(2 * math.pi))
    return z, probability.log() + math.log(N_LEVELS) - log_normal


def from_normal(z: Tensor, edges: Edges, probability_of: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Invert :func:`to_normal`: find the level by bisection over the edges, then the position in its box.

    Args:
        z: Normal quantiles.
        edges: Function from edges ``k``, a float tensor of the shape of z, to the probabilities below and above them.
        probability_of: Function from levels to their probabilities.

    Returns:
        x in (0, 1), and the elementwise log|dx/dz| in nats.
    """
    is_left = z < 0
    tail = torch.special.ndtr(-z.abs())
    level = torch.zeros_like(z)
    step = N_LEVELS // 2
    while step >= 1:
        below, above = edges(level + step)
        # ONNX Runtime has no torch.where of truth values.
        is_higher = (is_left & (below <= tail)) | (~is_left & (above >= tail))
        level = torch.where(is_higher, level + step, level)
        step //= 2
    probability = probability_of(level)
    from_left = (tail - edges(level)[0]) / probability
    from_right = 1 - (tail - edges(level + 1)[1]) / probability
    fraction = torch.where(is_left, from_left, from_right).clamp(SMALLEST_FRACTION, 1 - SMALLEST_FRACTION)
    log_normal = -0.5 * (z.square() + math.log(2 * math.pi))
    return (level + fraction) / N_LEVELS, log_normal - probability.log() - math.log(N_LEVELS)
