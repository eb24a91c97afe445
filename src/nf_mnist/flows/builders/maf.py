"""Masked and inverse autoregressive flows on the flattened image (Papamakarios et al. 2017; Kingma et al. 2016)."""

import torch

from nf_mnist.bijectors import (
    AffineMap,
    Bijector,
    ElementMap,
    Flatten,
    Inverse,
    MaskedAutoregression,
    Sequential,
    Shape,
    SplineMap,
)
from nf_mnist.errors import ConfigError, check_range
from nf_mnist.flows.components import Norm, Preprocess
from nf_mnist.flows.flow import Flow
from nf_mnist.nets import MaskedMLP

TRANSFORMS = ("affine", "spline")
DIRECTIONS = ("data", "latent")


def maf(
    *,
    event_shape: Shape,
    preprocess: Preprocess,
    norm: Norm,
    n_layers: int,
    hidden_features: int,
    transform: str,
    scale_activation: str,
    n_bins: int,
    bound: float,
    predicted_from: str,
    n_classes: int,
) -> Flow:
    """Build masked autoregressive layers, which predict each pixel in reading order and in reverse, in turns.

    Predicted from data, the likelihood takes one pass of the networks, and a sample takes as many steps as there are
    pixels: a masked autoregressive flow. Predicted from latents it is the other way round: an inverse autoregressive
    flow.

    Args:
        event_shape: (channels, height, width).
        preprocess: Factory of the first layer; see :func:`~nf_mnist.flows.preprocessing`.
        norm: Factory of the normalisation after each layer; see :func:`~nf_mnist.flows.normalization`.
        n_layers: Number of layers.
        hidden_features: Number of hidden units of each network.
        transform: Map of each pixel, ``affine`` or ``spline``.
        scale_activation: Function that bounds the log-scales of ``affine``; see
            :class:`~nf_mnist.bijectors.AffineCoupling`.
        n_bins: Number of bins of each spline.
        bound: Absolute value beyond which splines are the identity.
        predicted_from: ``data`` (MAF) or ``latent`` (IAF).
        n_classes: Number of class labels that condition everything; 0 for none.

    Raises:
        ConfigError: If a setting is unknown or out of range.
    """
    check_range(1, n_layers=n_layers, hidden_features=hidden_features)
    check_range(0, n_classes=n_classes)
    if predicted_from not in DIRECTIONS:
        raise ConfigError(f"model.flow.predicted_from must be one of {', '.join(DIRECTIONS)}, got {predicted_from!r}")
    element_map = _element_map(transform, scale_activation, n_bins, bound)
    reading_order = torch.arange(torch.Size(event_shape).numel())
    layers: list[Bijector] = [preprocess(event_shape), Flatten(event_shape)]
    for number in range(n_layers):
        order = reading_order.flip(0) if number % 2 else reading_order
        net = MaskedMLP(order.argsort(), hidden_features, element_map.n_parameters, n_classes)
        layer = MaskedAutoregression(order, net, element_map)
        layers += [layer if predicted_from == "data" else Inverse(layer), *norm((len(order),))]
    return Flow(Sequential(layers), event_shape, n_classes)


def _element_map(transform: str, scale_activation: str, n_bins: int, bound: float) -> ElementMap:
    if transform not in TRANSFORMS:
        raise ConfigError(f"model.flow.transform must be one of {', '.join(TRANSFORMS)}, got {transform!r}")
    return AffineMap(scale_activation) if transform == "affine" else SplineMap(n_bins, bound)
