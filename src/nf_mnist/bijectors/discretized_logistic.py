"""Distributions over grey levels: an atom at level 0 and a mixture of logistics discretized to 256 levels.

Salimans et al. 2017, "PixelCNN++", section 2.1; the atom is for MNIST, where most pixels are exactly 0. Some logistics
may have their mean not from a network but at a *reference*, the level of a known pixel nearby or one that is frequent
among the known pixels: levels repeat exactly along a stroke and inside it, and no network predicts a mean to a 256th.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from nf_mnist.bijectors.quantile_map import N_LEVELS, UNIFORM_SHARE
from nf_mnist.errors import ConfigError

LOG_SCALE_RANGE = (-8.0, 3.0)  # of logistics on [-1, 1], where a level is 1/128 wide
REFERENCE_LOG_SCALE = -4.0  # to begin with: two levels


class NeighbourPixel(NamedTuple):
    """Where a known pixel lies: in which channel, and how many rows and columns away."""

    channel: int
    rows: int
    columns: int


def n_parameters(n_components: int, n_references: int = 0) -> int:
    """Return how many numbers are predicted for a pixel: 1 for the atom, 3 per component, 2 per reference.

    Raises:
        ConfigError: If there are no components.
    """
    if n_components < 1:
        raise ConfigError(f"a mixture needs at least one component, got {n_components}")
    return 1 + 3 * n_components + 2 * n_references


class KnownLevels(NamedTuple):
    """Pixels that are given: where they are, and their levels."""

    mask: Tensor
    level: Tensor


class LevelMixture(NamedTuple):
    """An atom at level 0 and logistics on the edges mapped to [-1, 1]; component axis first.

    Where a pixel is known the distribution is certain of its level: it is given, and costs no bits.
    """

    atom: Tensor
    weights: Tensor
    means: Tensor
    inverse_scales: Tensor
    known: KnownLevels | None = None

    @classmethod
    def from_parameters(cls, parameters: Tensor, references: Tensor | None = None) -> "LevelMixture":
        """Read what a conditioner predicted.

        Args:
            parameters: Shape (batch, 1 + 3 components + 2 references, *pixels).
            references: Levels at which the last components have their means, shape (batch, references, *pixels).
        """
        if references is None:
            references = parameters[:, :0]
        n_bound = 2 * references.shape[1]
        atom, free, bound = parameters.movedim(1, 0).split([1, parameters.shape[1] - 1 - n_bound, n_bound])
        weights, means, log_scales = free.unflatten(0, (3, -1))
        bound_weights, bound_log_scales = bound.chunk(2)
        weights = torch.cat([weights, bound_weights]).softmax(0)
        means = torch.cat([means, (references.movedim(1, 0) + 0.5) / (N_LEVELS / 2) - 1])
        log_scales = torch.cat([log_scales, REFERENCE_LOG_SCALE + bound_log_scales])
        inverse_scales = (-log_scales.clamp(*LOG_SCALE_RANGE)).exp()
        return cls(atom[0].sigmoid(), weights, means, inverse_scales)

    def edges(self, k: Tensor) -> tuple[Tensor, Tensor]:
        """Return the probabilities below and above edges k in 0 .. 256."""
        arguments = self._arguments(k)
        uniform = UNIFORM_SHARE * k / N_LEVELS
        free = 1 - self.atom
        below = (self.weights * arguments.sigmoid()).sum(0)
        above = (self.weights * (-arguments).sigmoid()).sum(0)
        below = (1 - UNIFORM_SHARE) * (self.atom + free * below) + uniform
        above = (1 - UNIFORM_SHARE) * free * above + (UNIFORM_SHARE - uniform)
        below = torch.where(k <= 0, 0.0, torch.where(k >= N_LEVELS, 1.0, below))
        above = torch.where(k <= 0, 1.0, torch.where(k >= N_LEVELS, 0.0, above))
        if self.known is not None:
            is_above = (k > self.known.level).to(below)
            below = torch.where(self.known.mask, is_above, below)
            above = torch.where(self.known.mask, 1 - is_above, above)
        return below, above

    def probability(self, level: Tensor) -> Tensor:
        """Return the probabilities of levels; the first and last take the tails of the logistics."""
        low, high = self._arguments(level), self._arguments(level + 1)
        # A difference of sigmoids is taken in the nearer tail, where floats are dense.
        sign = torch.where(low + high > 0, -1.0, 1.0).to(low)
        low_sigmoid, high_sigmoid = (sign * low).sigmoid(), (sign * high).sigmoid()
        low_sigmoid = torch.where(level <= 0, (sign < 0).to(low), low_sigmoid)
        high_sigmoid = torch.where(level >= N_LEVELS - 1, (sign > 0).to(low), high_sigmoid)
        logistic = (self.weights * sign * (high_sigmoid - low_sigmoid)).sum(0)
        mixed = torch.where(level <= 0, self.atom, 0.0) + (1 - self.atom) * logistic
        probability = (1 - UNIFORM_SHARE) * mixed + UNIFORM_SHARE / N_LEVELS
        if self.known is not None:
            is_level = (level == self.known.level).to(probability)
            probability = torch.where(self.known.mask, is_level, probability)
        return probability

    def _arguments(self, k: Tensor) -> Tensor:
        return (k / (N_LEVELS / 2) - 1 - self.means) * self.inverse_scales


def level_features(level: Tensor) -> Tensor:
    """Return what conditioners see of levels, shape (batch, c, ...): scaled to [-1, 1], and where they are 0."""
    return torch.cat([level / 127.5 - 1, (level == 0).to(level)], 1)


def levels_at(level: Tensor, references: Sequence[NeighbourPixel]) -> Tensor:
    """Return the levels that each pixel finds at its references, shape (batch, references, height, width).

    Args:
        level: Shape (batch, channels, height, width); beyond the border levels are 0.
        references: Where to look.
    """
    if not references:
        return level[:, :0]
    (height, width), border = level.shape[2:], max(max(abs(r.rows), abs(r.columns)) for r in references)
    padded = F.pad(level, (border, border, border, border))
    found = (padded[:, r.channel, border + r.rows :, border + r.columns :] for r in references)
    return torch.stack([part[:, :height, :width] for part in found], 1)


def frequent_levels(level: Tensor, n: int) -> Tensor:
    """Return the n most frequent levels above 0 of each image, for each pixel, shape (batch, n, height, width).

    Of levels that are equally frequent the lower ones come first; where fewer occur, so do levels that do not.

    Args:
        level: Shape (batch, channels, height, width).
        n: How many; at most 255.
    """
    flat = level.flatten(1).long()
    counts = torch.zeros(len(flat), N_LEVELS, device=level.device, dtype=torch.int64)
    counts.scatter_add_(1, flat, torch.ones_like(flat))
    ranks = counts[:, 1:] * N_LEVELS - torch.arange(1, N_LEVELS, device=level.device)  # sorting by count, then level
    most = ranks.topk(n, 1).indices + 1
    return most.to(level)[:, :, None, None].expand(-1, -1, *level.shape[2:])
