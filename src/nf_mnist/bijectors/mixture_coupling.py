"""Couplings that predict a distribution over grey levels and map it exactly to a standard normal.

A conditioner predicts a :class:`~nf_mnist.bijectors.discretized_logistic.LevelMixture` for each transformed pixel, and
the monotone map of :mod:`~nf_mnist.bijectors.quantile_map` transforms the pixel. Conditioners see levels and never
dithered values.
"""

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
from nf_mnist.bijectors.placed_prior import ChannelPrior
from nf_mnist.bijectors.quantile_map import from_normal, level_and_fraction, to_normal
from nf_mnist.bijectors.tilted import TiltedMixture, tilt_exponent
from nf_mnist.errors import ShapeError


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
        prior: ChannelPrior | None = None,
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
        kept, observed = level, None
        nearest, features = levels_at(level, self.neighbours), level_features(level)
        if self.observed_pixels is not None:
            features = torch.cat([features, self.observed_pixels.features(context)], 1)
            if self.observed_pixels.is_seen:
                level = torch.cat([level, self.observed_pixels.blocks(context)[0]], 1)
                observed = self.observed_pixels.image(context)
        reference_levels = torch.cat([nearest, frequent_levels(level, self.n_frequent)], 1)
        is_for_net = self.observed_pixels is None and context is not None
        parameters = self.net(features, context) if is_for_net else self.net(features)
        parameters = parameters.to(values.dtype)
        if self.prior is None:
            return self._mixture(parameters, reference_levels, context)
        mixture = self._mixture(parameters[:, :-1], reference_levels, context)
        return TiltedMixture(mixture, tilt_exponent(parameters[:, -1]), self.prior.log_ratio_given(kept, observed))

    def fit(self, levels: Tensor) -> None:
        if self.prior is not None:
            self.prior.check_fit(levels)

    def teacher_force(self, grid: PixelGrid) -> PixelGrid:
        self.observed_pixels = ObservedPixels(grid.stride, grid.offset(self.n_kept), is_seen=False)
        return grid

    def adapt_weights(self, weights: dict[str, Tensor]) -> None:
        if self.prior is not None:
            add_tilt_parameter(self.net, weights)

    def _mixture(self, parameters: Tensor, reference_levels: Tensor, context: Tensor | None) -> LevelMixture:
        mixture = LevelMixture.from_parameters(parameters, reference_levels)
        return mixture if self.observed_pixels is None else self.observed_pixels.fix(mixture, context)

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


def add_tilt_parameter(net: nn.Module, weights: dict[str, Tensor]) -> None:
    """Let weights of a network that predicts no tilt, by their names in its bijector, be those of one that does.

    The weights that are missing become 0, so that gamma is 1 and the prior counts as much as the mixture.
    """
    for name, own in net.state_dict(prefix="net.").items():
        found = weights.get(name)
        if found is not None and found.shape == (len(own) - 1, *own.shape[1:]):
            weights[name] = torch.cat([found, torch.zeros_like(found[:1])])
