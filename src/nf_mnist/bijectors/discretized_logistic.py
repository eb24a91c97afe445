"""Distributions over grey levels: an atom at level 0 and a mixture of logistics discretized to 256 levels.

The mixture is that of Salimans et al. 2017, "PixelCNN++", section 2.1. The atom suits MNIST, where most pixels are
exactly 0. The mean of a logistic is predicted by a network or fixed at a *reference level*: the level of a known pixel
nearby, or one that is frequent among the known pixels. Levels repeat exactly along and inside a stroke, and no network
predicts a mean with a precision of 1/256.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from nf_mnist.bijectors.quantile_map import N_LEVELS, UNIFORM_SHARE
from nf_mnist.errors import ConfigError

LOG_SCALE_RANGE = (-8.0, 3.0)  # for logistics on [-1, 1], where a level is 1/128 wide
REFERENCE_LOG_SCALE = -4.0  # initial log-scale at a reference level: about two levels


class NeighbourPixel(NamedTuple):
    """The position of a known pixel relative to the one that is predicted.

    Attributes:
        channel: Channel of the known pixel.
        rows: Rows from the predicted pixel down to the known one.
        columns: Columns from the predicted pixel right to the known one.
    """

    channel: int
    rows: int
    columns: int


def n_parameters(n_components: int, n_references: int = 0) -> int:
    """Return how many numbers are predicted for a pixel: 1 for the atom, 3 per component, 2 per reference level.

    Args:
        n_components: Number of logistics with a predicted mean.
        n_references: Number of logistics with their mean at a reference level.

    Raises:
        ConfigError: If there are no components.
    """
    if n_components < 1:
        raise ConfigError(f"a mixture needs at least one component, got {n_components}")
    return 1 + 3 * n_components + 2 * n_references


class KnownLevels(NamedTuple):
    """Levels that are known in advance.

    Attributes:
        mask: Where the level is known, bool.
        level: The level; ignored where it is not known.
    """

    mask: Tensor
    level: Tensor


class LevelMixture(NamedTuple):
    """Distributions over levels: an atom at level 0 and a mixture of logistics on edges that are mapped to [-1, 1].

    Where the level of a pixel is known, it has probability 1 and costs no bits.

    Attributes:
        atom: Probability of the atom, shape (batch, *pixels).
        weights: Weight of each logistic, shape (components, batch, *pixels).
        means: Mean of each logistic, of the same shape.
        inverse_scales: Inverse scale of each logistic, of the same shape.
        known: Levels that are known in advance, or None.
    """

    atom: Tensor
    weights: Tensor
    means: Tensor
    inverse_scales: Tensor
    known: KnownLevels | None = None

    @classmethod
    def from_parameters(cls, parameters: Tensor, reference_levels: Tensor | None = None) -> "LevelMixture":
        """Build distributions from the predictions of a conditioner.

        Args:
            parameters: Predictions, shape (batch, 1 + 3 components + 2 references, *pixels).
            reference_levels: Levels at which the last logistics have their means, shape (batch, references, *pixels).
        """
        if reference_levels is None:
            reference_levels = parameters[:, :0]
        n_fixed = 2 * reference_levels.shape[1]
        atom, predicted, fixed = parameters.movedim(1, 0).split([1, parameters.shape[1] - 1 - n_fixed, n_fixed])
        weights, means, log_scales = predicted.unflatten(0, (3, -1))
        fixed_weights, fixed_log_scales = fixed.chunk(2)
        weights = torch.cat([weights, fixed_weights]).softmax(0)
        means = torch.cat([means, (reference_levels.movedim(1, 0) + 0.5) / (N_LEVELS / 2) - 1])
        log_scales = torch.cat([log_scales, REFERENCE_LOG_SCALE + fixed_log_scales])
        inverse_scales = (-log_scales.clamp(*LOG_SCALE_RANGE)).exp()
        return cls(atom[0].sigmoid(), weights, means, inverse_scales)

    def edges(self, k: Tensor) -> tuple[Tensor, Tensor]:
        """Return the probabilities below and above edges k in 0 .. 256, shape (batch, *pixels)."""
        arguments = self._arguments(k)
        uniform = UNIFORM_SHARE * k / N_LEVELS
        not_atom = 1 - self.atom
        below = (self.weights * arguments.sigmoid()).sum(0)
        above = (self.weights * (-arguments).sigmoid()).sum(0)
        below = (1 - UNIFORM_SHARE) * (self.atom + not_atom * below) + uniform
        above = (1 - UNIFORM_SHARE) * not_atom * above + (UNIFORM_SHARE - uniform)
        below = torch.where(k <= 0, 0.0, torch.where(k >= N_LEVELS, 1.0, below))
        above = torch.where(k <= 0, 1.0, torch.where(k >= N_LEVELS, 0.0, above))
        if self.known is not None:
            is_above = (k > self.known.level).to(below)
            below = torch.where(self.known.mask, is_above, below)
            above = torch.where(self.known.mask, 1 - is_above, above)
        return below, above

    def probability(self, level: Tensor) -> Tensor:
        """Return the probabilities of levels, shape (batch, *pixels); levels 0 and 255 include the logistics' tails."""
        low, high = self._arguments(level), self._arguments(level + 1)
        # The difference of sigmoids is taken in the nearer tail, where floats are dense.
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

    def for_levels(self, level: Tensor) -> "LevelMixture":
        """Return the distributions as they are: edges and probabilities are computed where they are asked for."""
        return self

    def for_quantiles(self, z: Tensor) -> "LevelMixture":
        """Return the distributions as they are, see :meth:`for_levels`."""
        return self

    def _arguments(self, k: Tensor) -> Tensor:
        return (k / (N_LEVELS / 2) - 1 - self.means) * self.inverse_scales


def level_features(level: Tensor) -> Tensor:
    """Return what conditioners see of levels, shape (batch, c, ...).

    Returns:
        The levels scaled to [-1, 1], then 1 where a level is 0 and 0 elsewhere; shape (batch, 2 c, ...).
    """
    return torch.cat([level / 127.5 - 1, (level == 0).to(level)], 1)


def levels_at(level: Tensor, neighbours: Sequence[NeighbourPixel]) -> Tensor:
    """Return the levels of each pixel's neighbours, shape (batch, neighbours, height, width).

    Args:
        level: Levels, shape (batch, channels, height, width); they are 0 beyond the border.
        neighbours: Positions of the neighbours.
    """
    if not neighbours:
        return level[:, :0]
    (height, width), border = level.shape[2:], max(max(abs(n.rows), abs(n.columns)) for n in neighbours)
    padded = F.pad(level, (border, border, border, border))
    found = (padded[:, n.channel, border + n.rows :, border + n.columns :] for n in neighbours)
    return torch.stack([part[:, :height, :width] for part in found], 1)


def frequent_levels(level: Tensor, n: int) -> Tensor:
    """Return the n most frequent levels above 0 of each image, repeated for each pixel.

    Among equally frequent levels the lower ones come first. If fewer than n levels occur in an image, levels that do
    not occur fill the rest.

    Args:
        level: Levels, shape (batch, channels, height, width).
        n: Number of levels, at most 255.

    Returns:
        Levels, shape (batch, n, height, width).
    """
    flat = level.flatten(1).long()
    counts = torch.zeros(len(flat), N_LEVELS, device=level.device, dtype=torch.int64)
    counts.scatter_add_(1, flat, torch.ones_like(flat))
    ranks = counts[:, 1:] * N_LEVELS - torch.arange(1, N_LEVELS, device=level.device)  # sorts by count, then by level
    most = ranks.topk(n, 1).indices + 1
    return most.to(level)[:, :, None, None].expand(-1, -1, *level.shape[2:])
