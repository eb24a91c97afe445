"""CP3, a simplified Real NVP known to us only from its authors' report: flat couplings, BatchNorm and shuffles.

The diary (notes of a student whose flow did not work; the origin of this project) compares its own flow with CP3.
"""

import torch
from torch import nn

from nf_mnist.bijectors import (
    AffineCoupling,
    Bijector,
    Flatten,
    Permutation,
    Sequential,
    Shape,
    make_mask,
    random_order,
)
from nf_mnist.errors import check_range
from nf_mnist.flows.components import Norm, Preprocess
from nf_mnist.flows.flow import Flow
from nf_mnist.nets import ConvMLP


def cp3(
    *,
    event_shape: Shape,
    preprocess: Preprocess,
    norm: Norm,
    n_couplings: int,
    hidden_channels: int,
    mlp_features: int,
    scale_activation: str,
    permutation_seed: int,
) -> Flow:
    """Build ``n_couplings`` blocks of [coupling, normalisation, shuffle] on the flattened image.

    Masks cycle through even, odd, first half and second half. Scale and shift networks both end in a tanh.

    Args:
        event_shape: (channels, height, width).
        preprocess: Factory of the first layer; see :func:`~nf_mnist.flows.preprocessing`.
        norm: Factory of the normalisation after each coupling; see :func:`~nf_mnist.flows.normalization`.
        n_couplings: Number of couplings.
        hidden_channels: Width of the first convolution.
        mlp_features: Width of the first linear layer.
        scale_activation: Function that bounds the log-scales; see :class:`~nf_mnist.bijectors.AffineCoupling`.
        permutation_seed: Seed for the shuffles.
    """
    check_range(1, n_couplings=n_couplings, hidden_channels=hidden_channels)
    check_range(0, mlp_features=mlp_features, permutation_seed=permutation_seed)
    dims = torch.Size(event_shape).numel()
    even, first = make_mask("even_odd", (dims,)), make_mask("halves", (dims,))
    masks = (even, 1 - even, first, 1 - first)

    layers: list[Bijector] = [preprocess(event_shape), Flatten(event_shape)]
    for i in range(n_couplings):
        scale_net = ConvMLP(event_shape, hidden_channels, mlp_features)
        shift_net = nn.Sequential(ConvMLP(event_shape, hidden_channels, mlp_features), nn.Tanh())
        coupling = AffineCoupling(masks[i % 4], scale_net, shift_net, scale_activation)
        layers += [coupling, *norm((dims,)), Permutation(random_order(dims, permutation_seed + i))]
    return Flow(Sequential(layers), event_shape)
