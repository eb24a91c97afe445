"""A masked perceptron, MADE: it predicts each element from earlier elements only (Germain et al. 2015)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nf_mnist.nets.labels import ClassBias

N_BLOCKS, MIN_ROWS = 4, 128  # of a product on a CPU, and the fewest hidden units of a block
WHOLE = [slice(None)]  # on other devices, where a call costs more than what a block saves


class MaskedMLP(nn.Module):
    """A perceptron with one hidden layer and two masks, from a flat event to several values for each element.

    Each hidden unit has a degree, and sees the elements up to it. The values for an element see the hidden units of
    lower degrees (Germain et al. 2015, equations 8 and 9). Degrees are spread evenly instead of drawn. With a single
    hidden layer, an element that becomes known changes all hidden units by one column of weights; see :meth:`begin`.

    Half of each mask is 0. On a CPU products are made of blocks of rows, without the columns that a whole block does
    not see. If elements are predicted from the first to the last, or from the last to the first, that saves three
    products in eight.

    Args:
        position: Position of each element in the order of prediction, counted from 0, shape (dims,).
        features: Number of hidden units.
        out_channels: Number of values for each element.
        n_classes: Number of class labels the network is conditioned on; 0 for none.
    """

    in_mask: Tensor
    out_mask: Tensor

    def __init__(self, position: Tensor, features: int, out_channels: int, n_classes: int = 0) -> None:
        super().__init__()
        dims = len(position)
        degree = torch.arange(features) * max(dims - 1, 1) // features
        in_mask, out_mask = position <= degree[:, None], degree < position[:, None]
        # In the dtype of the weights, since a product with a boolean mask converts the mask in each step.
        self.register_buffer("in_mask", in_mask.float(), persistent=False)
        self.register_buffer("out_mask", out_mask.float().repeat(out_channels, 1), persistent=False)
        n_blocks = max(1, min(N_BLOCKS, features // MIN_ROWS))
        self.blocks_in, self.blocks_out = columns_of_blocks(in_mask, n_blocks), columns_of_blocks(out_mask, n_blocks)
        self.out_channels = out_channels
        self.proj_in = nn.Linear(dims, features)
        self.label = ClassBias(n_classes, features)
        self.proj_out = nn.Linear(features, out_channels * dims)
        nn.init.zeros_(self.proj_out.weight)
        nn.init.zeros_(self.proj_out.bias)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Map (batch, dims) to (batch, out_channels, dims)."""
        blocks_in, blocks_out = (self.blocks_in, self.blocks_out) if x.device.type == "cpu" else (WHOLE, WHOLE)
        hidden = _masked_linear(x, self.in_mask, self.proj_in, 1, blocks_in).flatten(1)
        return _masked_linear(
            F.relu(self.label(hidden, label)), self.out_mask, self.proj_out, self.out_channels, blocks_out
        )

    def begin(self, batch_size: int, label: Tensor | None = None) -> "StepwisePrediction":
        """Return predictions for a batch of events of which nothing is known yet.

        Args:
            batch_size: Number of events.
            label: Class labels, shape (batch,), or None.
        """
        return StepwisePrediction(self, self.label(self.proj_in.bias.expand(batch_size, -1), label))


def columns_of_blocks(mask: Tensor, n_blocks: int) -> list[slice]:
    """Return the columns from the first to the last that each block of rows of a mask sees, shape (rows, columns)."""
    blocks = []
    for rows in mask.chunk(n_blocks):
        seen = rows.any(0).nonzero().flatten().tolist()
        blocks.append(slice(seen[0], seen[-1] + 1) if seen else slice(0, 0))
    return blocks


def _masked_linear(x: Tensor, mask: Tensor, linear: nn.Linear, n_channels: int, blocks: list[slice]) -> Tensor:
    """Apply a linear layer with a mask to its weights, block by block.

    Args:
        x: Input, shape (batch, in_features).
        mask: Mask, shape (n_channels * out_features, in_features).
        linear: The layer.
        n_channels: Number of values of each output; their rows of the weights lie ``out_features`` apart.
        blocks: Columns of the weights that each block of outputs sees.

    Returns:
        Output, shape (batch, n_channels, out_features).
    """
    split = (value.unflatten(0, (n_channels, -1)).chunk(len(blocks), 1) for value in (mask, linear.weight, linear.bias))
    outputs = []
    for columns, of_block, weight, bias in zip(blocks, *split, strict=True):
        masked = (of_block[..., columns] * weight[..., columns]).flatten(0, 1)
        outputs.append(F.linear(x[:, columns], masked, bias.flatten()).unflatten(1, (n_channels, -1)))
    return torch.cat(outputs, 2)


class StepwisePrediction:
    """Predictions of a :class:`MaskedMLP` while elements become known one after another, in the order of prediction.

    A step costs ``features`` multiplications for each event, a full pass of the network ``dims`` times as many.

    Args:
        net: The network.
        hidden: Hidden units before their activation, given no element, shape (batch, features).
    """

    def __init__(self, net: MaskedMLP, hidden: Tensor) -> None:
        self.hidden = hidden
        self.columns = (net.in_mask * net.proj_in.weight).T
        self.rows = (net.out_mask * net.proj_out.weight).unflatten(0, (net.out_channels, -1)).transpose(0, 1)
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
