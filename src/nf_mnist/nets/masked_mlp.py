"""A masked perceptron, MADE: it predicts each element from earlier elements only (Germain et al. 2015)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nf_mnist.nets.labels import ClassBias


class MaskedMLP(nn.Module):
    """A perceptron with one hidden layer and two masks, from a flat event to several values for each element.

    Each hidden unit has a degree, and sees the elements up to it. The values for an element see the hidden units of
    lower degrees (Germain et al. 2015, equations 8 and 9). Degrees are spread evenly instead of drawn. With a single
    hidden layer, an element that becomes known changes all hidden units by one column of weights; see :meth:`begin`.

    Args:
        position: Position of each element in the order of prediction, counted from 0, shape (dims,).
        features: Number of hidden units.
        out_channels: Number of values for each element.
        n_classes: Number of class labels the network is conditioned on; 0 for none.
    """

    mask_in: Tensor
    mask_out: Tensor

    def __init__(self, position: Tensor, features: int, out_channels: int, n_classes: int = 0) -> None:
        super().__init__()
        dims = len(position)
        degree = torch.arange(features) * max(dims - 1, 1) // features
        self.register_buffer("mask_in", position <= degree[:, None], persistent=False)
        self.register_buffer("mask_out", (degree < position[:, None]).repeat(out_channels, 1), persistent=False)
        self.out_channels = out_channels
        self.proj_in = nn.Linear(dims, features)
        self.label = ClassBias(n_classes, features)
        self.proj_out = nn.Linear(features, out_channels * dims)
        nn.init.zeros_(self.proj_out.weight)
        nn.init.zeros_(self.proj_out.bias)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Map (batch, dims) to (batch, out_channels, dims)."""
        hidden = self.label(F.linear(x, self.mask_in * self.proj_in.weight, self.proj_in.bias), label)
        out = F.linear(F.relu(hidden), self.mask_out * self.proj_out.weight, self.proj_out.bias)
        return out.unflatten(1, (self.out_channels, -1))

    def begin(self, batch_size: int, label: Tensor | None = None) -> "StepwisePrediction":
        """Return predictions for a batch of events of which nothing is known yet.

        Args:
            batch_size: Number of events.
            label: Class labels, shape (batch,), or None.
        """
        return StepwisePrediction(self, self.label(self.proj_in.bias.expand(batch_size, -1), label))


class StepwisePrediction:
    """Predictions of a :class:`MaskedMLP` while elements become known one after another, in the order of prediction.

    A step costs ``features`` multiplications for each event, a full pass of the network ``dims`` times as many.

    Args:
        net: The network.
        hidden: Hidden units before their activation, given no element, shape (batch, features).
    """

    def __init__(self, net: MaskedMLP, hidden: Tensor) -> None:
        self.hidden = hidden
        self.columns = (net.mask_in * net.proj_in.weight).T
        self.rows = (net.mask_out * net.proj_out.weight).unflatten(0, (net.out_channels, -1)).transpose(0, 1)
        self.biases = net.proj_out.bias.unflatten(0, (net.out_channels, -1)).T

    def predict(self, element: int) -> Tensor:
        """Return the values for an element, shape (batch, out_channels)."""
        return F.linear(F.relu(self.hidden), self.rows[element], self.biases[element])

    def observe(self, element: int, value: Tensor) -> None:
        """Make an element known.

        Args:
            element: Index of the element.
            value: Its value in each event, shape (batch,).
        """
        self.hidden = self.hidden + value[:, None] * self.columns[element]
