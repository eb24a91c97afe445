"""A hierarchy of couplings that predict distributions over grey levels, from coarse to fine.

It is a block-autoregressive discrete model, written as an exactly invertible flow. Its density is constant on the box
of each image of levels, so its gradient with respect to x is zero.
"""

from nf_mnist.bijectors import Shape
from nf_mnist.flows.flow import Flow
from nf_mnist.flows.hierarchy import Hierarchy


def hierarchical(*, event_shape: Shape, n_classes: int, level_prior: str = "none", **sizes: int) -> Flow:
    """Build a hierarchy, unconditional or conditioned on class labels.

    Args:
        event_shape: (1, height, width); the sides must halve ``n_scales`` times.
        n_classes: Number of class labels that condition everything; 0 for none.
        level_prior: What predicts grey levels from known ones, beside the networks: resampled, palettes, or none.
        sizes: The other attributes of :class:`~nf_mnist.flows.hierarchy.Hierarchy`.

    Raises:
        ConfigError: If a size is out of range; see :meth:`~nf_mnist.flows.hierarchy.Hierarchy.build`.
        ShapeError: If the image is not grey, or its sides do not halve often enough.
    """
    hierarchy = Hierarchy(n_classes=n_classes, sees_observed=False, level_prior=level_prior, **sizes)
    return Flow(hierarchy.build(event_shape), event_shape, n_classes)
