"""Distributions over grey levels that a level prior has tilted.

Black keeps the probability that a mixture gives it. The levels above share the rest in proportion to the mixture's
probabilities times ``(q / g)^gamma``: q is what the known pixels of the image predict, g the overall histogram.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from nf_mnist.bijectors.level_mixture import LevelMixture
from nf_mnist.bijectors.levels import N_LEVELS, UNIFORM_SHARE, from_normal

N_ABOVE = N_LEVELS - 1  # levels above black
SMALLEST_MASS = 1e-9  # of a level, before it is tilted: where a network is certain of black it knows of no other
CHUNK = 64  # pixels whose logistics are computed at a time, so that they stay in the cache

Ratios = Callable[[Tensor], Tensor]


class TiltedMixture:
    """The distribution of each pixel, shape (batch, height, width).

    Args:
        mixture: What a conditioner predicts.
        gamma: How much the prior counts, shape of the pixels.
        log_ratio: Given a mask of pixels, log(q / g) at levels 1 .. 255, shape (n, 255).
    """

    def __init__(self, mixture: LevelMixture, gamma: Tensor, log_ratio: Ratios) -> None:
        self.mixture, self.gamma, self.log_ratio = mixture, gamma, log_ratio

    def box(self, level: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the probabilities of levels, of those below and of those above."""
        black, inked = self.mixture.edges(torch.ones_like(level))
        mask = level > 0
        given = self.above_black(mask)
        index = level[mask].long()[:, None] - 1
        places = torch.arange(N_ABOVE, device=level.device)
        own = given.gather(1, index)[:, 0]
        below, above = (given * (places < index)).sum(1), (given * (places > index)).sum(1)
        share = inked[mask]
        probability = black.masked_scatter(mask, share * own)
        below = torch.zeros_like(black).masked_scatter(mask, black[mask] + share * below)
        return probability, below, inked.masked_scatter(mask, share * above)

    def decode(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map normal quantiles to pixels; return also the elementwise log|dx/dz|."""
        black, inked = self.mixture.edges(torch.ones_like(z))
        mask = torch.where(z < 0, torch.special.ndtr(z) >= black, torch.special.ndtr(-z) <= inked)
        given = self.above_black(mask)
        ...

    def above_black(self, mask: Tensor) -> Tensor:
        """Return the probabilities of levels 1 .. 255 of some pixels, given that they are not black, shape (n, 255)."""
        weights, means, inverse_scales = (part[:, mask] for part in self.mixture[1:4])
        below = LogisticMixture.apply(weights, means, inverse_scales)
        mass = torch.cat([below, torch.ones_like(below[:, :1])], 1).diff(dim=1).clamp(min=0) + SMALLEST_MASS
        tilted = mass * (self.gamma[mask][:, None] * self.log_ratio(mask)).exp()
        return (1 - UNIFORM_SHARE) * tilted / tilted.sum(1, keepdim=True) + UNIFORM_SHARE / N_ABOVE
