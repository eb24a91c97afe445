"""Glow (Kingma and Dhariwal 2018, "Glow: Generative flow with invertible 1x1 convolutions")."""

from collections.abc import Callable

from nf_mnist.bijectors import (
    AffineCoupling,
    Bijector,
    Flatten,
    InvertibleConv,
    Sequential,
    Shape,
    Squeeze,
    make_mask,
)
from nf_mnist.errors import check_range
from nf_mnist.flows.components import MAX_SCALES, Norm, Preprocess, factor_out_half
from nf_mnist.flows.flow import Flow
from nf_mnist.nets import GlowConv, ZeroConv


def glow(
    *,
    event_shape: Shape,
    preprocess: Preprocess,
    norm: Norm,
    n_scales: int,
    n_steps: int,
    hidden_channels: int,
    scale_activation: str,
    n_classes: int,
) -> Flow:
    """Build scales of a squeeze, ``n_steps`` steps of [normalisation, 1x1 convolution, coupling] and factoring out.

    The channels that are factored out are Gaussian, with mean and deviation predicted from the channels that go on: one
    more affine coupling.

    Args:
        event_shape: (channels, height, width); the sides must halve ``n_scales`` times.
        preprocess: Factory of the first layer; see :func:`~nf_mnist.flows.preprocessing`.
        norm: Factory of the normalisation that opens each step; see :func:`~nf_mnist.flows.normalization`.
        n_scales: Number of scales.
        n_steps: Number of steps at each scale.
        hidden_channels: Width of the networks.
        scale_activation: Function that bounds the log-scales; see :class:`~nf_mnist.bijectors.AffineCoupling`.
        n_classes: Number of class labels that condition everything; 0 for none.

    Raises:
        ShapeError: If the sides do not halve often enough.
    """
    check_range(0, MAX_SCALES, n_scales=n_scales)
    check_range(1, n_steps=n_steps, hidden_channels=hidden_channels)
    check_range(0, n_classes=n_classes)

    def coupling(shape: Shape) -> Bijector:
        net = GlowConv(shape[0], hidden_channels, 2 * shape[0], n_classes)
        return AffineCoupling(make_mask("channel", shape), net, scale_activation=scale_activation)

    def prior(shape: Shape) -> list[Bijector]:
        net = ZeroConv(shape[0], 2 * shape[0], n_classes)
        return [AffineCoupling(make_mask("channel", shape), net, scale_activation="soft_clamp")]

    layers = [preprocess(event_shape), *glow_scales(tuple(event_shape), n_scales, n_steps, norm, coupling, prior)]
    return Flow(Sequential(layers), event_shape, n_classes)


def glow_scales(
    shape: Shape,
    n_scales: int,
    n_steps: int,
    norm: Norm,
    coupling: Callable[[Shape], Bijector],
    prior: Callable[[Shape], list[Bijector]],
) -> list[Bijector]:
    """Return the layers of Glow's scales (figure 2) with a coupling of one's own.

    Args:
        shape: (channels, height, width) of the input.
        n_scales: Number of scales.
        n_steps: Number of steps at each scale.
        norm: Factory of the normalisation that opens each step.
        coupling: Factory of the coupling of a step, from the squeezed shape.
        prior: Factory of the layers before each factoring out, from the squeezed shape.
    """
    squeeze = Squeeze(shape)
    squeezed = squeeze.event_shape_out
    layers: list[Bijector] = [squeeze]
    for _ in range(n_steps):
        layers += [*norm(squeezed), InvertibleConv(squeezed), coupling(squeezed)]
    if n_scales == 1:
        return [*layers, Flatten(squeezed)]
    rest = factor_out_half(squeezed, lambda half: glow_scales(half, n_scales - 1, n_steps, norm, coupling, prior))
    return [*layers, *prior(squeezed), rest]
