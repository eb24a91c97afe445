"""The bijector that ``hierarchical`` and ``conditional`` share."""

from dataclasses import dataclass

import torch
from torch import nn

from nf_mnist.bijectors import (
    Bijector,
    DiscretizedMixture,
    FactorOut,
    Flatten,
    GroupedMixture,
    ObservedPixels,
    Permutation,
    PixelGrid,
    Sequential,
    Shape,
    Squeeze,
    n_parameters,
)
from nf_mnist.bijectors.quantile_map import N_LEVELS
from nf_mnist.errors import ConfigError, ShapeError
from nf_mnist.flows.geometry import CHANNEL_ORDER, nearest_known, pixel_groups
from nf_mnist.nets import ContextResNet, GroupedTransformer


@dataclass(frozen=True)
class Hierarchy:
    """Levels, each of which halves the image and predicts three of every four pixels, one after another.

    Of the channels that a squeeze makes, the first goes on to the next level, and each other is transformed given all
    before it. The last image (7x7 for MNIST and two levels) is transformed in groups of pixels. Sampling takes
    ``3 n_scales + n_groups`` passes of a network.

    Attributes:
        n_scales: Number of levels.
        channels: Width of the convolutional conditioners.
        n_blocks: Residual blocks of each.
        n_components: Logistics in each mixture.
        n_references: Further logistics in those of a level, with means at the nearest known pixels.
        n_frequent: Further logistics in those of a level, with means at the most frequent known levels above 0.
        n_groups: Groups of pixels of the last image.
        transformer_features: Width of the last image's transformer.
        transformer_blocks: Number of its blocks.
        transformer_heads: Heads of each of its attentions.
        n_classes: Number of class labels that condition everything; 0 for none.
        sees_observed: Whether an observed image conditions everything.
    """

    n_scales: int
    channels: int
    n_blocks: int
    n_components: int
    n_references: int
    n_frequent: int
    n_groups: int
    transformer_features: int
    transformer_blocks: int
    transformer_heads: int
    n_classes: int
    sees_observed: bool

    def build(self, event_shape: Shape) -> Bijector:
        """Return the bijector of grey images.

        Raises:
            ConfigError: If there are no components, or the number of groups or of references is out of range.
            ShapeError: If the image is not grey, or its sides do not halve often enough.
        """
        if event_shape[0] != 1:
            raise ShapeError(f"a hierarchy needs grey images, one channel, got {event_shape[0]}")
        if self.n_references < 0 or not 0 <= self.n_frequent < N_LEVELS:
            raise ConfigError(
                f"n_references must be 0 or more and n_frequent from 0 to {N_LEVELS - 1}, got {self.n_references} "
                f"and {self.n_frequent}"
            )
        return self._scale(tuple(event_shape), self.n_scales, PixelGrid.whole())

    def _scale(self, shape: Shape, n_left: int, grid: PixelGrid) -> Bijector:
        """Return the bijector of an image whose pixels are the first channel of the grid."""
        if not n_left:
            return self._coarsest(shape, grid)
        squeeze = Squeeze(shape)
        four, grid = squeeze.event_shape_out, grid.squeezed().select(CHANNEL_ORDER)
        # From data to latent the last channel comes first, while all before it are still data.
        couplings = [self._coupling(four, n_kept, grid) for n_kept in (3, 2, 1)]
        rest = self._scale((1, *four[1:]), n_left - 1, grid.select([0]))
        return Sequential([squeeze, Permutation(torch.tensor(CHANNEL_ORDER)), *couplings, FactorOut(four, 1, rest)])

    def _coupling(self, shape: Shape, n_kept: int, grid: PixelGrid) -> Bijector:
        observation = self._observed_pixels(grid, n_kept)
        references = nearest_known(n_kept, self.n_references)
        n_inputs = 2 * n_kept + _n_features(observation)
        n_outputs = n_parameters(self.n_components, len(references) + self.n_frequent)
        net = ContextResNet(n_inputs, self.channels, self.n_blocks, n_outputs, self.n_classes)
        _spread_components(net.conv_out, self.n_components)
        return DiscretizedMixture(shape, n_kept, net, references, self.n_frequent, observation)

    def _coarsest(self, shape: Shape, grid: PixelGrid) -> Bijector:
        observation = self._observed_pixels(grid, 0)
        groups = pixel_groups(shape[1], shape[2], self.n_groups)
        features, n_observed = self.transformer_features, _n_features(observation)
        net = GroupedTransformer(
            groups,
            2,
            features,
            self.transformer_blocks,
            self.transformer_heads,
            n_parameters(self.n_components),
            self.n_classes,
            ContextResNet(n_observed, 2 * features, self.n_blocks, features) if observation else None,
        )
        _spread_components(net.proj_out, self.n_components)
        return Sequential([GroupedMixture(groups, net, observation), Flatten(shape)])

    def _observed_pixels(self, grid: PixelGrid, channel: int) -> ObservedPixels | None:
        return ObservedPixels(grid.stride, grid.offset(channel)) if self.sees_observed else None


def _n_features(observation: ObservedPixels | None) -> int:
    return 0 if observation is None else 2 * observation.stride**2


@torch.no_grad()
def _spread_components(last: nn.Conv2d | nn.Linear, n_components: int) -> None:
    """Start with components spread over the levels, so that they do not all learn the same."""
    bias = torch.zeros(last.weight.shape[0])
    _, _, means, log_scales = bias[: n_parameters(n_components)].split([1, *[n_components] * 3])
    means.copy_(torch.linspace(-1, 1, n_components) if n_components > 1 else torch.zeros(1))
    log_scales.fill_(-1.0)
    last.bias = nn.Parameter(bias)
