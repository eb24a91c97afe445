"""Couplings that predict a distribution over grey levels and map it to a standard normal exactly.

A conditioner predicts, for each transformed pixel, an atom at level 0 and a mixture of logistics discretized to 256
levels (Salimans et al. 2017, "PixelCNN++", section 2.1; the atom is for MNIST, where most pixels are exactly 0). The
monotone map of :mod:`~nf_mnist.bijectors.levels` does the rest. Conditioners see levels, never dithered values.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from nf_mnist.bijectors.base import Bijector, Shape
from nf_mnist.bijectors.levels import N_LEVELS, UNIFORM_SHARE, from_normal, level_and_fraction, to_normal
from nf_mnist.errors import ConfigError, ShapeError

LOG_SCALE_RANGE = (-7.0, 3.0)  # of logistics on [-1, 1], where a level is 1/128 wide


def n_parameters(n_components: int) -> int:
    """Return how many numbers a conditioner predicts for a pixel: one for the atom, three for each component.

    Raises:
        ConfigError: If there are no components.
    """
    if n_components < 1:
        raise ConfigError(f"a mixture needs at least one component, got {n_components}")
    return 1 + 3 * n_components


class LevelMixture(NamedTuple):
    """An atom at level 0 and logistics on the edges mapped to [-1, 1]; component axis first."""

    atom: Tensor
    weights: Tensor
    means: Tensor
    inverse_scales: Tensor

    @classmethod
    def from_parameters(cls, parameters: Tensor) -> "LevelMixture":
        """Read what a conditioner predicted, shape (batch, 1 + 3 components, *pixels)."""
        atom, rest = parameters[:, 0], parameters[:, 1:]
        weights, means, log_scales = rest.unflatten(1, (3, -1)).movedim(2, 0).unbind(2)
        inverse_scales = (-log_scales.clamp(*LOG_SCALE_RANGE)).exp()
        return cls(atom.sigmoid(), weights.softmax(0), means, inverse_scales)

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
        return (1 - UNIFORM_SHARE) * mixed + UNIFORM_SHARE / N_LEVELS

    def _arguments(self, k: Tensor) -> Tensor:
        return (k / (N_LEVELS / 2) - 1 - self.means) * self.inverse_scales


def level_features(x: Tensor) -> Tensor:
    """Return what conditioners see of x, shape (batch, c, ...): levels in [-1, 1] and where they are 0, 2c channels."""
    level, _ = level_and_fraction(x)
    return torch.cat([level / 127.5 - 1, (level == 0).to(x)], 1)


class DiscretizedMixture(Bijector):
    """Transform one channel given the channels before it; the other channels pass unchanged.

    Args:
        event_shape: (channels, height, width).
        n_kept: Number of the transformed channel, from 1; the conditioner sees channels 0 .. n_kept - 1.
        net: Maps features, shape (batch, 2 n_kept, height, width), and the context if there is one, to parameters,
            shape (batch, 1 + 3 components, height, width).

    Raises:
        ShapeError: If there is no such channel.
    """

    def __init__(self, event_shape: Shape, n_kept: int, net: nn.Module) -> None:
        super().__init__()
        if not 0 < n_kept < event_shape[0]:
            raise ShapeError(f"a mixture coupling of {event_shape[0]} channels cannot transform channel {n_kept}")
        self.n_kept, self.net = n_kept, net

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        mixture = self.mixture_given(x, context)
        z, log_det = mixture_forward(mixture, x[:, self.n_kept])
        return self._with_channel(x, z), log_det.flatten(1).sum(1)

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        mixture = self.mixture_given(z, context)
        x, log_det = mixture_inverse(mixture, z[:, self.n_kept])
        return self._with_channel(z, x), log_det.flatten(1).sum(1)

    def mixture_given(self, values: Tensor, context: Tensor | None) -> LevelMixture:
        """Return what is predicted for the transformed channel, pixels of shape (batch, height, width)."""
        features = level_features(values[:, : self.n_kept])
        parameters = self.net(features) if context is None else self.net(features, context)
        return LevelMixture.from_parameters(parameters.to(values.dtype))

    def _with_channel(self, values: Tensor, channel: Tensor) -> Tensor:
        before, after = values[:, : self.n_kept], values[:, self.n_kept + 1 :]
        return torch.cat([before, channel.unsqueeze(1), after], 1)


class GroupedMixture(Bijector):
    """Transform a whole image in groups of pixels, each group given all earlier ones: autoregressive in blocks.

    One pass of the network from data to latent, one per group back.

    Args:
        groups: Group of each pixel, shape (height, width), from 0.
        net: Maps features, shape (batch, 2, height, width), and the context if there is one, to parameters, shape
            (batch, 1 + 3 components, height, width); those of a pixel must depend on earlier groups only.
    """

    groups: Tensor

    def __init__(self, groups: Tensor, net: nn.Module) -> None:
        super().__init__()
        self.register_buffer("groups", groups, persistent=False)
        self.net = net

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z, log_det = mixture_forward(self.mixture_given(x, context), x[:, 0])
        return z.unsqueeze(1), log_det.flatten(1).sum(1)

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x, log_det = torch.full_like(z, 0.5), torch.zeros_like(z[:, 0])
        for group in range(int(self.groups.max()) + 1):
            members = self.groups == group
            found, change = mixture_inverse(self.mixture_given(x, context), z[:, 0])
            x = torch.where(members, found.unsqueeze(1), x)
            log_det = torch.where(members, change, log_det)
        return x, log_det.flatten(1).sum(1)

    def mixture_given(self, x: Tensor, context: Tensor | None) -> LevelMixture:
        """Return what is predicted for each pixel from earlier groups, pixels of shape (batch, height, width)."""
        features = level_features(x)
        parameters = self.net(features) if context is None else self.net(features, context)
        return LevelMixture.from_parameters(parameters.to(x.dtype))


def mixture_forward(mixture: LevelMixture, x: Tensor) -> tuple[Tensor, Tensor]:
    """Map pixels x, shape (batch, *pixels), to normal quantiles; return also the elementwise log|dz/dx|."""
    level, fraction = level_and_fraction(x)
    return to_normal(fraction, mixture.probability(level), mixture.edges(level)[0], mixture.edges(level + 1)[1])


def mixture_inverse(mixture: LevelMixture, z: Tensor) -> tuple[Tensor, Tensor]:
    """Map normal quantiles z, shape (batch, *pixels), to pixels; return also the elementwise log|dx/dz|."""
    return from_normal(z, mixture.edges, mixture.probability)
