"""A hierarchy of couplings that predict distributions over grey levels, coarse to fine.

Said plainly: a block-autoregressive discrete model, written as an exactly invertible flow. Its density is constant
on the box of each image of levels, so its gradient with respect to x is zero.
"""

from nf_mnist.bijectors import Shape
from nf_mnist.flows.flow import Flow
from nf_mnist.flows.hierarchy import Hierarchy


def hierarchical(
    *,
    event_shape: Shape,
    n_levels: int,
    channels: int,
    n_blocks: int,
    n_components: int,
    n_references: int,
    n_frequent: int,
    n_groups: int,
    transformer_features: int,
    transformer_blocks: int,
    transformer_heads: int,
    n_classes: int,
) -> Flow:
    """Build a :class:`~nf_mnist.flows.hierarchy.Hierarchy`, unconditional or conditioned on class labels.

    Args:
        event_shape: (1, height, width); the sides must halve ``n_levels`` times.
        n_levels: Number of levels.
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

    Raises:
        ConfigError, ShapeError: As :meth:`~nf_mnist.flows.hierarchy.Hierarchy.build`.
    """
    hierarchy = Hierarchy(
        n_levels=n_levels,
        channels=channels,
        n_blocks=n_blocks,
        n_components=n_components,
        n_references=n_references,
        n_frequent=n_frequent,
        n_groups=n_groups,
        transformer_features=transformer_features,
        transformer_blocks=transformer_blocks,
        transformer_heads=transformer_heads,
        n_classes=n_classes,
        sees_observed=False,
    )
    return Flow(hierarchy.build(event_shape), event_shape, n_classes)
