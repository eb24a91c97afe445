"""Distributions over grey levels that a level prior has tilted.

Black keeps the probability that a mixture gives it. The levels above share the rest in proportion to the mixture's
probabilities times ``(q / g)^gamma``: q is what the known pixels of the image predict, g the overall histogram.
"""

from collections.abc import Callable
from typing import NamedTuple, cast

import torch
from torch import Tensor

from nf_mnist.bijectors.discretized_logistic import LevelMixture
from nf_mnist.bijectors.logistic_table import LogisticTable
from nf_mnist.bijectors.quantile_map import N_LEVELS, UNIFORM_SHARE

N_INKED = N_LEVELS - 1  # levels above black
MIN_PROBABILITY = UNIFORM_SHARE / N_LEVELS  # no level has less
MIN_UNTILTED = 1e-20  # no level has less before it is tilted; a network that is certain of black gives the others 0


def tilt_exponent(parameter: Tensor) -> Tensor:
    """Map an unbounded network output to gamma, the exponent of the tilt: between 0 and 2, and 1 where it is 0."""
    return 2 * parameter.sigmoid()


class LevelTable(NamedTuple):
    """The probability of black, and a table of the levels above it for those pixels that need one.

    Attributes:
        black: Probability of level 0, shape of the pixels.
        inked: Probability of all other levels together, shape of the pixels.
        mask: Pixels that have a table, shape of the pixels; the others are only asked for the probability of black.
        probabilities: Probabilities of levels 1 .. 255, shape (pixels of the mask, 255).
        below: Probability of all levels from 1 to below k, for each k in 1 .. 256, in double precision.
    """

    black: Tensor
    inked: Tensor
    mask: Tensor
    probabilities: Tensor
    below: Tensor

    def edges(self, k: Tensor) -> tuple[Tensor, Tensor]:
        """Return the probabilities below and above edges k in 0 .. 256."""
        of_mask = (k[self.mask] - 1).clamp(min=0).long()[:, None]
        found = self.below.gather(1, of_mask)[:, 0]
        below = (self.black[self.mask] + found).to(self.black)
        above = (self.below[:, -1] - found).to(self.black)
        below, above = self.black.masked_scatter(self.mask, below), self.inked.masked_scatter(self.mask, above)
        return torch.where(k <= 0, 0.0, below), torch.where(k <= 0, 1.0, above)

    def probability(self, level: Tensor) -> Tensor:
        """Return the probabilities of levels."""
        index = (level[self.mask] - 1).clamp(min=0).long()[:, None]
        inked = self.probabilities.gather(1, index)[:, 0]
        return torch.where(level > 0, self.black.masked_scatter(self.mask, inked), self.black)


class TiltedMixture(NamedTuple):
    """What a conditioner and a prior predict for each pixel.

    Attributes:
        mixture: Distribution that the conditioner predicts, shape of the pixels.
        gamma: Exponent of the tilt, shape of the pixels.
        log_ratio: Function from a mask of pixels to log(q / g) at levels 1 .. 255, shape (pixels of the mask, 255).
    """

    mixture: LevelMixture
    gamma: Tensor
    log_ratio: Callable[[Tensor], Tensor]

    def for_levels(self, level: Tensor) -> LevelTable:
        """Return the distributions, with tables where these levels need them."""
        return self.table(level > 0)

    def for_quantiles(self, z: Tensor) -> LevelTable:
        """Return the distributions, with tables where these normal quantiles are not those of black."""
        black, inked = self.mixture.edges(torch.ones_like(z))
        tail = torch.special.ndtr(-z.abs())
        return self.table(torch.where(z < 0, black <= tail, inked >= tail))

    def probability(self, level: Tensor) -> Tensor:
        """Return the probabilities of levels."""
        return self.for_levels(level).probability(level)

    def table(self, mask: Tensor) -> LevelTable:
        """Return the distributions, with tables where the mask says."""
        black, inked = self.mixture.edges(torch.ones_like(self.gamma))
        tilted = self._untilted(mask) * (self.gamma[mask][:, None] * self.log_ratio(mask)).exp()
        share = (inked[mask] - N_INKED * MIN_PROBABILITY).clamp(min=0)[:, None]
        probabilities = share * tilted / tilted.sum(1, keepdim=True) + MIN_PROBABILITY
        if (known := self.mixture.known) is not None:
            levels = torch.arange(1, N_LEVELS, device=mask.device)
            is_level = (levels == known.level[mask][:, None]).to(probabilities)
            probabilities = torch.where(known.mask[mask][:, None], is_level, probabilities)
        below = torch.cat([torch.zeros_like(probabilities[:, :1]), probabilities], 1).double().cumsum(1)
        return LevelTable(black, inked, mask, probabilities, below)

    def _untilted(self, mask: Tensor) -> Tensor:
        """Return the mixture's probabilities of levels 1 .. 255, up to a factor, shape (pixels of the mask, 255)."""
        weights, means, inverse_scales = (part[:, mask].T.contiguous() for part in self.mixture[1:4])
        return cast(Tensor, LogisticTable.apply(weights, means, inverse_scales)) + MIN_UNTILTED
