"""Couplings that predict a distribution over grey levels and map it exactly to a standard normal.

A conditioner predicts a :class:`~nf_mnist.bijectors.discretized_logistic.LevelMixture` for each transformed pixel, and
the monotone map of :mod:`~nf_mnist.bijectors.quantile_map` transforms the pixel. Conditioners see levels and never
dithered values.
"""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nf_mnist.bijectors.base import Bijector, Shape
from nf_mnist.bijectors.discretized_logistic import (
    LevelMixture,
    NeighbourPixel,
    frequent_levels,
    level_features,
    levels_at,
)
from nf_mnist.bijectors.observed_pixels import ObservedPixels
from nf_mnist.bijectors.pixel_grid import PixelGrid
from nf_mnist.bijectors.placed_prior import ChannelPrior, GroupedPrior
from nf_mnist.bijectors.quantile_map import from_normal, level_and_fraction, to_normal
from nf_mnist.bijectors.tilted import TiltedMixture, tilt_exponent
from nf_mnist.errors import ShapeError


class LevelBijector(Bijector):
    """Base class of bijectors that map the levels of one channel by distributions that a network predicts.

    Args:
        channel: Index of the channel.
        net: Predicts the parameters of distributions, the exponent of the tilt last if there is a prior.
        observed_pixels: How to read an observed image, or None.
        prior: What predicts levels beside the network, or None.
    """

    is_continuous = False
    is_autoregressive = True

    def __init__(
        self,
        channel: int,
        net: nn.Module,
        observed_pixels: ObservedPixels | None,
        prior: ChannelPrior | GroupedPrior | None,
    ) -> None:
        super().__init__()
        self.channel, self.net = channel, net
        self.observed_pixels, self.prior = observed_pixels, prior

    @abstractmethod
    def predict_mixture(self, values: Tensor, context: Tensor | None) -> LevelMixture | TiltedMixture:
        """Return the distributions predicted for the pixels of the channel, shape (batch, height, width)."""

    def teacher_force(self, grid: PixelGrid) -> PixelGrid:
        self.observed_pixels = ObservedPixels(grid.stride, grid.offset(self.channel), is_seen=False)
        return grid

    def fit(self, levels: Tensor) -> None:
        if self.prior is not None:
            self.prior.fit(levels)

    def adapt_weights(self, weights: dict[str, Tensor]) -> None:
        """Let weights of a bijector without a prior, by their names here, be those of one with a prior.

        The weights that are missing become 0, so that gamma is 1 and the prior counts as much as the mixture. What a
        prior was fitted to stays as it is here.
        """
        if self.prior is not None and not any(name.startswith("prior.") for name in weights):
            weights |= self.prior.state_dict(prefix="prior.")
        for name, own in self.net.state_dict(prefix="net.").items():
            found = weights.get(name)
            if self.prior is not None and found is not None and found.shape == (len(own) - 1, *own.shape[1:]):
                weights[name] = torch.cat([found, torch.zeros_like(found[:1])])

    def _distributions(
        self, parameters: Tensor, known: Tensor, context: Tensor | None, reference_levels: Tensor | None = None
    ) -> LevelMixture | TiltedMixture:
        """Return distributions by the network's predictions and the prior; observed pixels are certain."""
        n_tilts, observed = int(self.prior is not None), self.observed_pixels
        mixture = LevelMixture.from_parameters(parameters[:, : parameters.shape[1] - n_tilts], reference_levels)
        if observed is not None:
            mixture = observed.fix(mixture, context)
        if self.prior is None:
            return mixture
        image = observed.image(context) if observed is not None and observed.is_seen else None
        return TiltedMixture(mixture, tilt_exponent(parameters[:, -1]), self.prior.log_ratio_given(known, image))


class DiscretizedMixture(LevelBijector):
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

    def __init__(
        self,
        event_shape: Shape,
        n_kept: int,
        net: nn.Module,
        neighbours: Sequence[NeighbourPixel] = (),
        n_frequent: int = 0,
        observed_pixels: ObservedPixels | None = None,
        prior: ChannelPrior | None = None,
    ) -> None:
        super().__init__(n_kept, net, observed_pixels, prior)
        if not 0 < n_kept < event_shape[0]:
            raise ShapeError(f"a mixture coupling of {event_shape[0]} channels cannot transform channel {n_kept}")
        if any(not 0 <= neighbour.channel < n_kept for neighbour in neighbours):
            raise ShapeError(f"channel {n_kept} can refer to the channels before it, got {list(neighbours)}")
        self.n_kept = n_kept
        self.neighbours, self.n_frequent = tuple(neighbours), n_frequent

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
        kept, _ = level_and_fraction(values[:, : self.n_kept])
        level, nearest, features = kept, levels_at(kept, self.neighbours), level_features(kept)
        if self.observed_pixels is not None:
            features = torch.cat([features, self.observed_pixels.features(context)], 1)
            if self.observed_pixels.is_seen:
                level = torch.cat([level, self.observed_pixels.blocks(context)[0]], 1)
        reference_levels = torch.cat([nearest, frequent_levels(level, self.n_frequent)], 1)
        is_for_net = self.observed_pixels is None and context is not None
        parameters = self.net(features, context) if is_for_net else self.net(features)
        return self._distributions(parameters.to(values.dtype), kept, context, reference_levels)

    def _with_channel(self, values: Tensor, channel: Tensor) -> Tensor:
        before, after = values[:, : self.n_kept], values[:, self.n_kept + 1 :]
        return torch.cat([before, channel.unsqueeze(1), after], 1)


def mixture_forward(mixture: LevelMixture | TiltedMixture, x: Tensor) -> tuple[Tensor, Tensor]:
    """Map pixels x, shape (batch, *pixels), to normal quantiles z; return z and the elementwise log|dz/dx| in nats."""
    level, fraction = level_and_fraction(x)
    found = mixture.for_levels(level)
    return to_normal(fraction, found.probability(level), found.edges(level)[0], found.edges(level + 1)[1])


def mixture_inverse(mixture: LevelMixture | TiltedMixture, z: Tensor) -> tuple[Tensor, Tensor]:
    """Map normal quantiles z, shape (batch, *pixels), to pixels x; return x and the elementwise log|dx/dz| in nats."""
    found = mixture.for_quantiles(z)
    return from_normal(z, found.edges, found.probability)
