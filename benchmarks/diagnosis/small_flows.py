"""The smallest shapes and flows that have every part of the real ones; tests use them, too."""

import torch

from nf_mnist.bijectors import MarginalGaussianization, Shape
from nf_mnist.flows import Flow, conditional, hierarchical

GREY, IMAGE, HALF = (1, 8, 8), (4, 4, 4), (2, 4, 4)  # an image, the same squeezed, and half of its channels


def gaussianization(shape: Shape) -> MarginalGaussianization:
    """Build a marginal gaussianization of random levels."""
    layer = MarginalGaussianization(shape)
    layer.fit(torch.randint(256, (2000, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(4)))
    return layer


def small_hierarchical(n_groups: int = 4, n_references: int = 5) -> Flow:
    """Build a hierarchical flow of one scale."""
    return hierarchical(
        event_shape=GREY,
        n_scales=1,
        channels=8,
        n_blocks=2,
        n_components=3,
        n_references=n_references,
        n_frequent=2,
        n_groups=n_groups,
        transformer_features=16,
        transformer_blocks=2,
        transformer_heads=2,
        n_classes=0,
    )


def small_conditional() -> Flow:
    """Build a conditional flow of two scales."""
    return conditional(
        event_shape=GREY,
        n_scales=2,
        channels=8,
        n_blocks=1,
        n_components=2,
        n_references=3,
        n_frequent=1,
        n_groups=2,
        transformer_features=16,
        transformer_blocks=1,
        transformer_heads=2,
    )
