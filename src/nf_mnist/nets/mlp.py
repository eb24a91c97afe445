"""Multi-layer perceptrons: the conditioners of ``nice``."""

from itertools import pairwise

from torch import Tensor, nn

from nf_mnist.nets.labels import ClassBias


class MLP(nn.Module):
    """Linear layers with ReLUs between them, from a flat event to one of the same size.

    Args:
        dims: Number of dimensions of input and output.
        features: Width of the hidden layers.
        n_hidden: Number of hidden layers.
        n_classes: Number of class labels the network is conditioned on; 0 for none.
    """

    def __init__(self, dims: int, features: int, n_hidden: int, n_classes: int = 0) -> None:
        super().__init__()
        widths = [*[features] * n_hidden, dims]
        self.proj_in = nn.Linear(dims, widths[0])
        self.label = ClassBias(n_classes, widths[0])
        layers = [(nn.ReLU(), nn.Linear(width, next_width)) for width, next_width in pairwise(widths)]
        self.rest = nn.Sequential(*(layer for pair in layers for layer in pair))

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Map (batch, dims) to (batch, dims)."""
        return self.rest(self.label(self.proj_in(x), label))
