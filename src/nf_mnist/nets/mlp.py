"""Multi-layer perceptrons: the conditioners of ``nice``."""

from itertools import pairwise

from torch import nn


class MLP(nn.Sequential):
    """Linear layers with ReLUs between them, from a flat event to one of the same size.

    Args:
        dims: Size of input and output.
        features: Width of the hidden layers.
        n_hidden: Number of hidden layers.
    """

    def __init__(self, dims: int, features: int, n_hidden: int) -> None:
        widths = [dims, *[features] * n_hidden, dims]
        layers: list[nn.Module] = []
        for width, next_width in pairwise(widths):
            layers += [nn.Linear(width, next_width), nn.ReLU()]
        super().__init__(*layers[:-1])
