"""Real NVP (Dinh et al. 2017, "Density estimation using Real NVP")."""

from nf_mnist.bijectors import (
    AffineCoupling,
    Bijector,
    Flatten,
    LearnedTanh,
    Sequential,
    Shape,
    Squeeze,
    make_mask,
)
from nf_mnist.errors import check_range
from nf_mnist.flows.components import MAX_SCALES, Norm, Preprocess, alternating_masks, factor_out_half
from nf_mnist.flows.flow import Flow
from nf_mnist.nets import PreactivationResNet


def realnvp(
    *,
    event_shape: Shape,
    preprocess: Preprocess,
    norm: Norm,
    n_scales: int,
    hidden_channels: int,
    n_blocks: int,
    n_classes: int,
) -> Flow:
    """Build scales of three checkerboard couplings, a squeeze, three channel couplings and factoring out.

    The last scale has four checkerboard couplings (section 3.6). The networks are residual networks with BatchNorm.
    Unlike the paper's they have no weight normalization and no skips to the output, and their width is the same at each
    scale.

    Args:
        event_shape: (channels, height, width); the sides must halve ``n_scales - 1`` times.
        preprocess: Factory of the first layer; see :func:`~nf_mnist.flows.preprocessing`.
        norm: Factory of the normalisation after each coupling; see :func:`~nf_mnist.flows.normalization`.
        n_scales: Number of scales.
        hidden_channels: Width of the residual blocks.
        n_blocks: Number of residual blocks in each network.
        n_classes: Number of class labels that condition everything; 0 for none.

    Raises:
        ShapeError: If the sides do not halve often enough.
    """
    check_range(1, MAX_SCALES, n_scales=n_scales)
    check_range(1, hidden_channels=hidden_channels)
    check_range(0, n_blocks=n_blocks, n_classes=n_classes)

    def couplings(kind: str, shape: Shape, n: int) -> list[Bijector]:
        layers: list[Bijector] = []
        for mask in alternating_masks(make_mask(kind, shape), n):
            net = PreactivationResNet(shape[0], hidden_channels, n_blocks, 2 * shape[0], n_classes)
            layers += [AffineCoupling(mask, net, scale_activation=LearnedTanh(shape[0])), *norm(shape)]
        return layers

    def scales(shape: Shape, n_left: int) -> list[Bijector]:
        if n_left == 1:
            return [*couplings("checkerboard", shape, 4), Flatten(shape)]
        squeeze = Squeeze(shape)
        return [
            *couplings("checkerboard", shape, 3),
            squeeze,
            *couplings("channel", squeeze.event_shape_out, 3),
            factor_out_half(squeeze.event_shape_out, lambda half: scales(half, n_left - 1)),
        ]

    layers = [preprocess(event_shape), *scales(tuple(event_shape), n_scales)]
    return Flow(Sequential(layers), event_shape, n_classes)
