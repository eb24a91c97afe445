"""The hierarchy of couplings that ``hierarchical`` and ``conditional`` share."""

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
from nf_mnist.bijectors.level_prior import LevelPrior, LevelTables
from nf_mnist.bijectors.palettes import PalettePrior
from nf_mnist.bijectors.placed_prior import ChannelPrior, GroupedPrior
from nf_mnist.bijectors.quantile_map import N_LEVELS
from nf_mnist.data.level_tables import read_level_tables
from nf_mnist.data.resampling import SIDE
from nf_mnist.errors import ConfigError, ShapeError, check_range
from nf_mnist.flows.components import MAX_SCALES
from nf_mnist.flows.geometry import CHANNEL_ORDER, nearest_neighbours, pixel_groups
from nf_mnist.nets import ContextResNet, GroupedTransformer

LEVEL_PRIORS = ("none", "resampled", "palettes")
N_PALETTES = 64


@dataclass(frozen=True)
class Hierarchy:
    """A multi-scale bijector: each scale halves the image and predicts three of every four pixels from the fourth.

    A squeeze makes four channels. The first goes on to the next scale; each of the others is transformed given all
    channels before it. The coarsest image, 7x7 for MNIST and two scales, is transformed in groups of pixels. Sampling
    takes ``3 n_scales + n_groups`` passes of a network.

    Attributes:
        n_scales: Number of scales.
        channels: Width of the convolutional conditioners.
        n_blocks: Number of residual blocks of each conditioner.
        n_components: Number of logistics in each mixture.
        n_references: Number of further logistics with means at the levels of the nearest known pixels; not used for the
            coarsest image.
        n_frequent: Number of further logistics with means at the most frequent known levels above 0; not used for the
            coarsest image.
        n_groups: Number of groups of pixels of the coarsest image.
        transformer_features: Width of the transformer for the coarsest image.
        transformer_blocks: Number of blocks of the transformer.
        transformer_heads: Number of heads of each attention.
        n_classes: Number of class labels that condition everything; 0 for none.
        sees_observed: Whether an observed image conditions everything.
        level_prior: What predicts grey levels from known ones, beside the networks: how MNIST was resampled from
            bilevel digits (resampled), palettes fitted to the training images (palettes), or nothing (none).
        n_palettes: Number of palettes; used by palettes only.
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
    level_prior: str = "none"
    n_palettes: int = N_PALETTES

    def build(self, event_shape: Shape) -> Bijector:
        """Return the bijector for grey images.

        Args:
            event_shape: (1, height, width); the sides must halve ``n_scales`` times.

        Raises:
            ConfigError: If a size is out of range.
            ShapeError: If the image is not grey, or its sides do not halve often enough.
        """
        if event_shape[0] != 1:
            raise ShapeError(f"a hierarchy needs grey images, one channel, got {event_shape[0]}")
        check_range(0, MAX_SCALES, n_scales=self.n_scales)
        check_range(1, channels=self.channels, n_components=self.n_components)
        check_range(1, transformer_features=self.transformer_features, transformer_heads=self.transformer_heads)
        check_range(0, n_blocks=self.n_blocks, transformer_blocks=self.transformer_blocks, n_classes=self.n_classes)
        check_range(0, n_references=self.n_references)
        check_range(0, N_LEVELS - 1, n_frequent=self.n_frequent)
        check_range(1, n_palettes=self.n_palettes)
        prior = level_prior(self.level_prior, event_shape, self.n_palettes)
        return self._scale(tuple(event_shape), self.n_scales, PixelGrid.whole(), prior)

    def _scale(self, shape: Shape, n_left: int, grid: PixelGrid, prior: LevelPrior | None) -> Bijector:
        """Return the bijector of an image with ``n_left`` more scales, whose pixels are the channel of the grid."""
        if not n_left:
            return self._coarsest(shape, grid, prior)
        squeeze = Squeeze(shape)
        four, grid = squeeze.event_shape_out, grid.squeezed().select(CHANNEL_ORDER)
        # From data to latent the last channel is transformed first, while the channels before it are still data.
        couplings = [self._coupling(four, n_kept, grid, prior) for n_kept in (3, 2, 1)]
        rest = self._scale((1, *four[1:]), n_left - 1, grid.select([0]), prior)
        return Sequential([squeeze, Permutation(torch.tensor(CHANNEL_ORDER)), *couplings, FactorOut(four, 1, rest)])

    def _coupling(self, shape: Shape, n_kept: int, grid: PixelGrid, prior: LevelPrior | None) -> Bijector:
        observed_pixels = self._observed_pixels(grid, n_kept)
        neighbours = nearest_neighbours(n_kept, self.n_references)
        n_inputs = 2 * n_kept + _n_features(observed_pixels)
        n_outputs = n_parameters(self.n_components, len(neighbours) + self.n_frequent) + (prior is not None)
        net = ContextResNet(n_inputs, self.channels, self.n_blocks, n_outputs, self.n_classes)
        _spread_components(net.conv_out, self.n_components)
        placed = ChannelPrior(prior, grid, n_kept) if prior else None
        return DiscretizedMixture(shape, n_kept, net, neighbours, self.n_frequent, observed_pixels, placed)

    def _coarsest(self, shape: Shape, grid: PixelGrid, prior: LevelPrior | None) -> Bijector:
        observed_pixels = self._observed_pixels(grid, 0)
        groups = pixel_groups(shape[1], shape[2], self.n_groups)
        features, n_observed = self.transformer_features, _n_features(observed_pixels)
        net = GroupedTransformer(
            groups,
            2,
            features,
            self.transformer_blocks,
            self.transformer_heads,
            n_parameters(self.n_components) + (prior is not None),
            self.n_classes,
            ContextResNet(n_observed, 2 * features, self.n_blocks, features) if observed_pixels else None,
        )
        _spread_components(net.proj_out, self.n_components)
        placed = GroupedPrior(prior, grid, groups) if prior else None
        return Sequential([GroupedMixture(groups, net, observed_pixels, placed), Flatten(shape)])

    def _observed_pixels(self, grid: PixelGrid, channel: int) -> ObservedPixels | None:
        return ObservedPixels(grid.stride, grid.offset(channel)) if self.sees_observed else None


def level_prior(name: str, event_shape: Shape, n_palettes: int = N_PALETTES) -> LevelPrior | None:
    """Return the prior of grey levels of this name; None if it is none.

    Args:
        name: One of :data:`LEVEL_PRIORS`.
        event_shape: (1, height, width).
        n_palettes: Number of palettes, if they are the prior.

    Raises:
        ConfigError: If there is no such prior.
        ShapeError: If it is of images of another shape.
    """
    if name not in LEVEL_PRIORS:
        raise ConfigError(f"model.flow.level_prior must be one of {', '.join(LEVEL_PRIORS)}, got {name!r}")
    if name == "none":
        return None
    if name == "palettes":
        return PalettePrior(n_palettes, event_shape[1:])
    if tuple(event_shape[1:]) != (SIDE, SIDE):
        raise ShapeError(
            f"level_prior={name} knows how MNIST was drawn, images of {SIDE}x{SIDE}, got "
            f"{event_shape[1]}x{event_shape[2]}; use model.flow.level_prior=palettes or none"
        )
    return LevelPrior(LevelTables(*read_level_tables()))


def _n_features(observed_pixels: ObservedPixels | None) -> int:
    return 0 if observed_pixels is None else 2 * observed_pixels.stride**2


@torch.no_grad()
def _spread_components(last: nn.Conv2d | nn.Linear, n_components: int) -> None:
    """Initialize the means of the components spread over the levels, so that they do not all learn the same."""
    bias = torch.zeros(last.weight.shape[0])
    _, _, means, log_scales = bias[: n_parameters(n_components)].split([1, *[n_components] * 3])
    means.copy_(torch.linspace(-1, 1, n_components) if n_components > 1 else torch.zeros(1))
    log_scales.fill_(-1.0)
    last.bias = nn.Parameter(bias)
