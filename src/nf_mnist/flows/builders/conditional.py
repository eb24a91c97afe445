"""The hierarchy of ``hierarchical``, conditioned on the observed pixels of an image."""

from collections.abc import Sequence

from nf_mnist.bijectors import Shape
from nf_mnist.flows.conditional_flow import RANDOM, ConditionalFlow
from nf_mnist.flows.hierarchy import Hierarchy


def conditional(
    *, event_shape: Shape, training_mask: str | Sequence[str] = RANDOM, level_prior: str = "none", **sizes: int
) -> ConditionalFlow:
    """Build a hierarchy conditioned on observed pixels.

    Args:
        event_shape: (1, height, width); the sides must halve ``n_scales`` times.
        training_mask: What is hidden in training; see :class:`~nf_mnist.flows.ConditionalFlow`.
        level_prior: What predicts grey levels from observed and known ones, beside the networks: resampled, palettes,
            or none.
        sizes: The other attributes of :class:`~nf_mnist.flows.hierarchy.Hierarchy`.

    Raises:
        ConfigError: If a size or the mask is out of range; see :meth:`~nf_mnist.flows.hierarchy.Hierarchy.build`.
        ShapeError: If the image is not grey, or its sides do not halve often enough.
    """
    hierarchy = Hierarchy(n_classes=0, sees_observed=True, level_prior=level_prior, **sizes)
    return ConditionalFlow(hierarchy.build(event_shape), event_shape, training_mask)
