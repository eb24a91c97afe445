"""A hierarchy of couplings that predict distributions over grey levels, coarse to fine.

Said plainly: a block-autoregressive discrete model, written as an exactly invertible flow. Its density is constant
on the box of each image of levels, so its gradient with respect to x is zero.
"""

import torch
from torch import Tensor, nn

from nf_mnist.bijectors import (
    Bijector,
    DiscretizedMixture,
    FactorOut,
    Flatten,
    GroupedMixture,
    Permutation,
    Sequential,
    Shape,
    Squeeze,
    n_parameters,
)
from nf_mnist.errors import ConfigError, ShapeError
from nf_mnist.flows.flow import Flow
from nf_mnist.nets import GatedResNet, GroupedTransformer

CHANNEL_ORDER = (0, 3, 1, 2)  # pixels 00, 11, 01, 10 of each 2x2 block
BAYER = torch.tensor([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]])


def pixel_groups(height: int, width: int, n_groups: int) -> Tensor:
    """Return the group of each pixel, each group spread over the image: Bayer's ordered-dither matrix (Bayer 1973).

    Raises:
        ConfigError: If there are fewer than 1 or more than 16 groups.
    """
    if not 1 <= n_groups <= 16:
        raise ConfigError(f"the coarsest image is divided into 1 to 16 groups of pixels, got n_groups={n_groups}")
    rows, columns = torch.arange(height) % 4, torch.arange(width) % 4
    return BAYER[rows][:, columns] * n_groups // 16


def hierarchical(
    *,
    event_shape: Shape,
    n_levels: int,
    channels: int,
    n_blocks: int,
    n_components: int,
    n_groups: int,
    transformer_features: int,
    transformer_blocks: int,
    transformer_heads: int,
    n_classes: int,
) -> Flow:
    """Build ``n_levels`` levels; each halves the image and predicts three of every four pixels, one after another.

    Of the channels that a squeeze makes, the first goes on to the next level, and each other is transformed given all
    before it. The last image (7x7 for MNIST and two levels) is transformed in groups of pixels. Sampling takes
    ``3 n_levels + n_groups`` passes of a network.

    Args:
        event_shape: (1, height, width); the sides must halve ``n_levels`` times.
        n_levels: Number of levels.
        channels: Width of the convolutional conditioners.
        n_blocks: Gated blocks of each.
        n_components: Logistics in each mixture.
        n_groups: Groups of pixels of the last image.
        transformer_features: Width of the last image's transformer.
        transformer_blocks: Number of its blocks.
        transformer_heads: Heads of each of its attentions.
        n_classes: Number of class labels that condition everything; 0 for none.

    Raises:
        ConfigError: If there are no components, or the number of groups is out of range.
        ShapeError: If the image is not grey, or its sides do not halve often enough.
    """
    if event_shape[0] != 1:
        raise ShapeError(f"hierarchical needs grey images, one channel, got {event_shape[0]}")
    n_outputs = n_parameters(n_components)

    def coupling(shape: Shape, n_kept: int) -> Bijector:
        net = GatedResNet(2 * n_kept, channels, n_blocks, n_outputs, n_classes)
        _spread_components(net.leave, n_components)
        return DiscretizedMixture(shape, n_kept, net)

    def coarsest(shape: Shape) -> Bijector:
        groups = pixel_groups(shape[1], shape[2], n_groups)
        sizes = (transformer_features, transformer_blocks, transformer_heads)
        net = GroupedTransformer(groups, 2, *sizes, n_outputs, n_classes)
        _spread_components(net.leave, n_components)
        return Sequential([GroupedMixture(groups, net), Flatten(shape)])

    def level(shape: Shape, n_left: int) -> Bijector:
        if n_left == 0:
            return coarsest(shape)
        squeeze = Squeeze(shape)
        four = squeeze.event_shape_out
        # From data to latent the last channel comes first, while all before it are still data.
        couplings = [coupling(four, n_kept) for n_kept in (3, 2, 1)]
        rest = level((1, *four[1:]), n_left - 1)
        return Sequential([squeeze, Permutation(torch.tensor(CHANNEL_ORDER)), *couplings, FactorOut(four, 1, rest)])

    return Flow(level(tuple(event_shape), n_levels), event_shape, n_classes)


@torch.no_grad()
def _spread_components(last: nn.Conv2d | nn.Linear, n_components: int) -> None:
    """Start with components spread over the levels, so that they do not all learn the same."""
    bias = torch.zeros(n_parameters(n_components))
    _, _, means, log_scales = bias.split([1, *[n_components] * 3])
    means.copy_(torch.linspace(-1, 1, n_components) if n_components > 1 else torch.zeros(1))
    log_scales.fill_(-1.0)
    last.bias = nn.Parameter(bias)
