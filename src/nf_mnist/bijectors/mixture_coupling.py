"""Couplings that predict a distribution over grey levels and map it to a standard normal exactly.

A conditioner predicts a :class:`~nf_mnist.bijectors.discretized_logistic.LevelMixture` for each transformed pixel. The
monotone map of :mod:`~nf_mnist.bijectors.quantile_map` does the rest. Conditioners see levels, never dithered values.
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
from nf_mnist.bijectors.pixel_grid import PixelGrid
from nf_mnist.bijectors.quantile_map import from_normal, level_and_fraction, to_normal
from nf_mnist.errors import ConfigError, ShapeError


class ObservedPixels(NamedTuple):
    """Where the pixels of an image that some couplings halved lie in the observed image, the context.

    The context has shape (batch, 2, height, width): levels, 0 where a pixel is hidden, and 1 where one is observed.

    Attributes:
        stride: The image's pixels are ``stride`` pixels apart in the observed one.
        offset: Number of a pixel's own place in its block of ``stride`` x ``stride``, row by row.
        is_seen: Whether networks see the observed image; if not, its pixels are given and nothing else changes.
    """

    stride: int
    offset: int
    is_seen: bool = True

    def blocks(self, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the levels of each block and where they are observed, shape (batch, stride^2, height, width) each.

        Raises:
            ConfigError: If there is no context.
        """
        if context is None:
            raise ConfigError("these couplings are conditioned on observed pixels; give them as context")
        levels, is_observed = F.pixel_unshuffle(context, self.stride).chunk(2, 1)
        return levels, is_observed

    def features(self, context: Tensor | None) -> Tensor:
        """Return what networks see of the blocks, 2 stride^2 channels: levels in [-1, 1], and which are observed."""
        levels, is_observed = self.blocks(context)
        features = torch.cat([(levels / 127.5 - 1) * is_observed, is_observed], 1)
        return features if self.is_seen else features[:, :0]

    def given(self, mixture: LevelMixture, context: Tensor | None) -> LevelMixture:
        """Return the mixture, certain of observed pixels."""
        levels, is_observed = self.blocks(context)
        return mixture._replace(known=KnownLevels(is_observed[:, self.offset] > 0, levels[:, self.offset]))


class DiscretizedMixture(Bijector):
    """Transform one channel given the channels before it; the other channels pass unchanged.

    Args:
        event_shape: (channels, height, width).
        n_kept: Number of the transformed channel, from 1; the conditioner sees channels 0 .. n_kept - 1.
        net: Maps features, shape (batch, 2 n_kept, height, width), and the context if there is one, to parameters,
            shape (batch, 1 + 3 components + 2 (references + n_frequent), height, width).
        references: Pixels of known channels at whose levels a component has its mean.
        n_frequent: Further components with means at the most frequent levels above 0 of the known channels, and of
            the observed image.
        observation: Where the transformed channel lies in an observed image; the context is then that image, and the
            network sees its features after those of the known channels. None: the context is the network's.

    Raises:
        ShapeError: If there is no such channel, or a reference is not in a known one.
    """

    is_continuous = False
    is_autoregressive = True

    def __init__(
        self,
        event_shape: Shape,
        n_kept: int,
        net: nn.Module,
        references: Sequence[NeighbourPixel] = (),
        n_frequent: int = 0,
        observation: ObservedPixels | None = None,
    ) -> None:
        super().__init__()
        if not 0 < n_kept < event_shape[0]:
            raise ShapeError(f"a mixture coupling of {event_shape[0]} channels cannot transform channel {n_kept}")
        if any(not 0 <= reference.channel < n_kept for reference in references):
            raise ShapeError(f"channel {n_kept} can refer to the channels before it, got {list(references)}")
        self.n_kept, self.net = n_kept, net
        self.references, self.n_frequent = tuple(references), n_frequent
        self.observation = observation

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
        level, _ = level_and_fraction(values[:, : self.n_kept])
        nearest, features = levels_at(level, self.references), level_features(level)
        if self.observation is not None:
            features = torch.cat([features, self.observation.features(context)], 1)
            if self.observation.is_seen:
                level = torch.cat([level, self.observation.blocks(context)[0]], 1)
        references = torch.cat([nearest, frequent_levels(level, self.n_frequent)], 1)
        is_for_net = self.observation is None and context is not None
        parameters = self.net(features, context) if is_for_net else self.net(features)
        mixture = LevelMixture.from_parameters(parameters.to(values.dtype), references)
        return mixture if self.observation is None else self.observation.given(mixture, context)

    def teacher_force(self, grid: PixelGrid) -> PixelGrid:
        self.observation = ObservedPixels(grid.stride, grid.offset(self.n_kept), is_seen=False)
        return grid

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
        observation: Where the image lies in an observed image; the context is then that image, and the network gets its
            features in place of the context. None: the context is the network's.
    """

    is_continuous = False
    is_autoregressive = True
    groups: Tensor

    def __init__(self, groups: Tensor, net: nn.Module, observation: ObservedPixels | None = None) -> None:
        super().__init__()
        self.register_buffer("groups", groups, persistent=False)
        self.net = net
        self.observation = observation

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
        features = level_features(level_and_fraction(x)[0])
        if self.observation is not None:
            context_seen = self.observation.features(context) if self.observation.is_seen else None
        else:
            context_seen = context
        parameters = self.net(features) if context_seen is None else self.net(features, context_seen)
        mixture = LevelMixture.from_parameters(parameters.to(x.dtype))
        return mixture if self.observation is None else self.observation.given(mixture, context)

    def teacher_force(self, grid: PixelGrid) -> PixelGrid:
        self.observation = ObservedPixels(grid.stride, grid.offset(0), is_seen=False)
        return grid


def mixture_forward(mixture: LevelMixture, x: Tensor) -> tuple[Tensor, Tensor]:
    """Map pixels x, shape (batch, *pixels), to normal quantiles; return also the elementwise log|dz/dx|."""
    level, fraction = level_and_fraction(x)
    return to_normal(fraction, mixture.probability(level), mixture.edges(level)[0], mixture.edges(level + 1)[1])


def mixture_inverse(mixture: LevelMixture, z: Tensor) -> tuple[Tensor, Tensor]:
    """Map normal quantiles z, shape (batch, *pixels), to pixels; return also the elementwise log|dx/dz|."""
    return from_normal(z, mixture.edges, mixture.probability)
