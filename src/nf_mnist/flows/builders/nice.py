"""NICE (Dinh et al. 2015, "NICE: Non-linear independent components estimation")."""

import torch

from nf_mnist.bijectors import (
    AdditiveCoupling,
    Bijector,
    Flatten,
    LogisticToNormal,
    Scaling,
    Sequential,
    Shape,
    make_mask,
)
from nf_mnist.errors import check_range
from nf_mnist.flows.components import Norm, Preprocess, alternating_masks
from nf_mnist.flows.flow import Flow
from nf_mnist.nets import MLP


def nice(
    *,
    event_shape: Shape,
    preprocess: Preprocess,
    norm: Norm,
    n_couplings: int,
    hidden_features: int,
    n_hidden: int,
    n_classes: int,
) -> Flow:
    """Build additive couplings on the flattened image, a scale for each dimension and a logistic prior (section 5.1).

    Masks alternate between even and odd dimensions. Networks read all dimensions; the transformed ones are zeros.

    Args:
        event_shape: (channels, height, width).
        preprocess: Factory of the first layer; see :func:`~nf_mnist.flows.preprocessing`.
        norm: Factory of the normalisation after each coupling; see :func:`~nf_mnist.flows.normalization`.
        n_couplings: Number of couplings.
        hidden_features: Width of the hidden layers.
        n_hidden: Number of hidden layers of each network.
        n_classes: Number of class labels that condition everything; 0 for none.
    """
    check_range(1, n_couplings=n_couplings, hidden_features=hidden_features)
    check_range(0, n_hidden=n_hidden, n_classes=n_classes)
    dims = torch.Size(event_shape).numel()
    layers: list[Bijector] = [preprocess(event_shape), Flatten(event_shape)]
    for mask in alternating_masks(make_mask("even_odd", (dims,)), n_couplings):
        layers += [AdditiveCoupling(mask, MLP(dims, hidden_features, n_hidden, n_classes)), *norm((dims,))]
    return Flow(Sequential([*layers, Scaling((dims,)), LogisticToNormal()]), event_shape, n_classes)
