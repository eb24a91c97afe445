"""Couplings that predict a distribution over grey levels and map it exactly to a standard normal.

A conditioner predicts a :class:`~nf_mnist.bijectors.discretized_logistic.LevelMixture` for each transformed pixel, and
the monotone map of :mod:`~nf_mnist.bijectors.quantile_map` transforms the pixel. Conditioners see levels and never
dithered values.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nf_mnist.bijectors.base import Bijector, Shape
from nf_mnist.bijectors.discretized_logistic import (
    KnownLevels,
    LevelMixture,
    NeighbourPixel,
    frequent_levels,
    level_features,
    levels_at,
)
from nf_mnist.bijectors.level_prior import PlacedPrior
from nf_mnist.bijectors.pixel_grid import PixelGrid
from nf_mnist.bijectors.quantile_map import from_normal, level_and_fraction, to_normal
from nf_mnist.bijectors.tilted import TiltedMixture, tilt_exponent
from nf_mnist.errors import ConfigError, ShapeError


class ObservedPixels(NamedTuple):
    """How a coupling reads the observed image, its context, at a lower resolution.

    The context has shape (batch, 2, height, width): levels, which are 0 where a pixel is hidden, and flags, which are 1
    where a pixel is observed and 0 where it is hidden. Each pixel of the coupling corresponds to a block of ``stride``
    x ``stride`` pixels.

    Attributes:
        stride: Distance of the coupling's pixels in the observed image.
        offset: Index of the coupling's own pixel in its block, row by row.
        is_seen: Whether networks see the observed image. If not, observed pixels are fixed and nothing else changes.
    """

    stride: int
    offset: int
    is_seen: bool = True

    def blocks(self, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the levels and flags of each block, shape (batch, stride^2, height, width) each.

        Raises:
            ConfigError: If there is no context.
        """
        if context is None:
            raise ConfigError("these couplings are conditioned on observed pixels; give them as context")
        levels, is_observed = F.pixel_unshuffle(context, self.stride).chunk(2, 1)
        return levels, is_observed

    def features(self, context: Tensor | None) -> Tensor:
        """Return what networks see: levels in [-1, 1] and flags, 2 stride^2 channels; no channels if not seen."""
        levels, is_observed = self.blocks(context)
        features = torch.cat([(levels / 127.5 - 1) * is_observed, is_observed], 1)
        return features if self.is_seen else features[:, :0]

    def fix(self, mixture: LevelMixture, context: Tensor | None) -> LevelMixture:
        """Return the mixture with the levels of observed pixels known."""
        levels, is_observed = self.blocks(context)
        return mixture._replace(known=KnownLevels(is_observed[:, self.offset] > 0, levels[:, self.offset]))


class DiscretizedMixture(Bijector):
    """Transform one channel given the channels before it; the other channels pass unchanged.

    Args:
        event_shape: (channels, height, width).
        n_kept: Index of the transformed channel, at least 1; the conditioner sees channels 0 .. n_kept - 1.
        net: Maps features, shape (batch, 2 n_kept, height, width), and the context if there is one, to parameters,
            shape (batch, 1 + 3 components + 2 (neighbours + n_frequent), height, width).
        neighbours: Pixels of the kept channels; for each, a logistic has its mean at that pixel's level.
        n_frequent: Number of further logistics with means at the most frequent levels above 0, among the kept channels
            and the observed image.
        observed_pixels: How to read an observed image. The context is then that image, and the network sees its
            features after those of the kept channels. If None, the context goes to the network as it is.
        prior: What predicts levels from the kept channels as well. The network's last parameter then tells how much it
            counts.

    Raises:
        ShapeError: If there is no such channel, or a neighbour is not in a kept channel.
    """

    is_continuous = False
    is_autoregressive = True

    def __init__(
        self,
        event_shape: Shape,
        n_kept: int,
        net: nn.Module,
        neighbours: Sequence[NeighbourPixel] = (),
        n_frequent: int = 0,
        observed_pixels: ObservedPixels | None = None,
        prior: PlacedPrior | None = None,
    ) -> None:
        super().__init__()
        if not 0 < n_kept < event_shape[0]:
            raise ShapeError(f"a mixture coupling of {event_shape[0]} channels cannot transform channel {n_kept}")
        if any(not 0 <= neighbour.channel < n_kept for neighbour in neighbours):
            raise ShapeError(f"channel {n_kept} can refer to the channels before it, got {list(neighbours)}")
        self.n_kept, self.net = n_kept, net
        self.neighbours, self.n_frequent = tuple(neighbours), n_frequent
        self.observed_pixels, self.prior = observed_pixels, prior

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        mixture = self.predict_mixture(x, context)
        z, log_det = mixture_forward(mixture, x[:, self.n_kept])
        return self._with_channel(x, z), log_det.flatten(1).sum(1)

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        mixture = self.predict_mixture(z, context)
        x, log_det = mixture_inverse(mixture, z[:, self.n_kept])
        return self._with_channel(z, x), log_det.flatten(1).sum(1)

    def predict_mixture(self, values: Tensor, context: Tensor | None) -> LevelMixture | TiltedMixture:
        """Return the distributions predicted for the transformed channel, pixels of shape (batch, height, width)."""
        level, _ = level_and_fraction(values[:, : self.n_kept])
        kept = level
        nearest, features = levels_at(level, self.neighbours), level_features(level)
        if self.observed_pixels is not None:
            features = torch.cat([features, self.observed_pixels.features(context)], 1)
            if self.observed_pixels.is_seen:
                level = torch.cat([level, self.observed_pixels.blocks(context)[0]], 1)
        reference_levels = torch.cat([nearest, frequent_levels(level, self.n_frequent)], 1)
        is_for_net = self.observed_pixels is None and context is not None
        parameters = self.net(features, context) if is_for_net else self.net(features)
        parameters = parameters.to(values.dtype)
        if self.prior is None:
            return self._mixture(parameters, reference_levels, context)
        mixture = self._mixture(parameters[:, :-1], reference_levels, context)
        return TiltedMixture(mixture, tilt_exponent(parameters[:, -1]), self.prior.log_ratio_given(kept))

    def fit(self, levels: Tensor) -> None:
        if self.prior is not None:
            self.prior.check_fit(levels)

    def teacher_force(self, grid: PixelGrid) -> PixelGrid:
        self.observed_pixels = ObservedPixels(grid.stride, grid.offset(self.n_kept), is_seen=False)
        return grid

    def adapt_weights(self, weights: dict[str, Tensor]) -> None:
        """Let weights of a coupling without a prior, by their names here, be those of one with a prior.

        Parameters that its network does not predict yet are 0, so that the prior counts as much as the mixture.
        """
        for name, own in self.net.state_dict(prefix="net.").items():
            found = weights.get(name)
            if self.prior is not None and found is not None and found.shape == (len(own) - 1, *own.shape[1:]):
                weights[name] = torch.cat([found, torch.zeros_like(found[:1])])

    def _mixture(self, parameters: Tensor, reference_levels: Tensor, context: Tensor | None) -> LevelMixture:
        mixture = LevelMixture.from_parameters(parameters, reference_levels)
        return mixture if self.observed_pixels is None else self.observed_pixels.fix(mixture, context)

    def _with_channel(self, values: Tensor, channel: Tensor) -> Tensor:
        before, after = values[:, : self.n_kept], values[:, self.n_kept + 1 :]
        return torch.cat([before, channel.unsqueeze(1), after], 1)


class GroupedMixture(Bijector):
    """Transform a whole image in groups of pixels, each group given all earlier ones: block-autoregressive.

    From data to latent it takes one pass of the network, from latent to data one pass per group.

    Args:
        groups: Group of each pixel, counted from 0, shape (height, width).
        net: Maps features, shape (batch, 2, height, width), and the context if there is one, to parameters, shape
            (batch, 1 + 3 components, height, width). The parameters of a pixel must depend on earlier groups only.
        observed_pixels: How to read an observed image. The context is then that image, and the network gets its
            features in place of the context. If None, the context goes to the network as it is.
    """

    is_continuous = False
    is_autoregressive = True
    groups: Tensor

    def __init__(self, groups: Tensor, net: nn.Module, observed_pixels: ObservedPixels | None = None) -> None:
        super().__init__()
        self.register_buffer("groups", groups, persistent=False)
        self.n_groups = int(groups.max()) + 1  # known to the host, so that it need not wait for the device
        self.net = net
        self.observed_pixels = observed_pixels

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z, log_det = mixture_forward(self.predict_mixture(x, context), x[:, 0])
        return z.unsqueeze(1), log_det.flatten(1).sum(1)

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x, log_det = torch.full_like(z, 0.5), torch.zeros_like(z[:, 0])
        for group in range(self.n_groups):
            members = self.groups == group
            found, change = mixture_inverse(self.predict_mixture(x, context), z[:, 0])
            x = torch.where(members, found.unsqueeze(1), x)
            log_det = torch.where(members, change, log_det)
        return x, log_det.flatten(1).sum(1)

    def predict_mixture(self, x: Tensor, context: Tensor | None) -> LevelMixture:
        """Return the distributions predicted for each pixel from earlier groups, shape (batch, height, width)."""
        features = level_features(level_and_fraction(x)[0])
        if self.observed_pixels is not None:
            context_seen = self.observed_pixels.features(context) if self.observed_pixels.is_seen else None
        else:
            context_seen = context
        parameters = self.net(features) if context_seen is None else self.net(features, context_seen)
        mixture = LevelMixture.from_parameters(parameters.to(x.dtype))
        return mixture if self.observed_pixels is None else self.observed_pixels.fix(mixture, context)

    def teacher_force(self, grid: PixelGrid) -> PixelGrid:
        self.observed_pixels = ObservedPixels(grid.stride, grid.offset(0), is_seen=False)
        return grid


def mixture_forward(mixture: LevelMixture | TiltedMixture, x: Tensor) -> tuple[Tensor, Tensor]:
    """Map pixels x, shape (batch, *pixels), to normal quantiles z; return z and the elementwise log|dz/dx| in nats."""
    level, fraction = level_and_fraction(x)
    found = mixture.for_levels(level)
    return to_normal(fraction, found.probability(level), found.edges(level)[0], found.edges(level + 1)[1])


def mixture_inverse(mixture: LevelMixture | TiltedMixture, z: Tensor) -> tuple[Tensor, Tensor]:
    """Map normal quantiles z, shape (batch, *pixels), to pixels x; return x and the elementwise log|dx/dz| in nats."""
    found = mixture.for_quantiles(z)
    return from_normal(z, found.edges, found.probability)
