"""Residual networks with global context: the convolutional conditioners of ``hierarchical``."""

from torch import Tensor, nn
from torch.nn import functional as F

from nf_mnist.nets.labels import ClassBias


class ContextBlock(nn.Module):
    """A residual block of two 3x3 convolutions and a path through the mean over all pixels.

    The residual block is that of He et al. 2016, "Identity mappings", figure 4e. The path through the mean gives each
    pixel information about the whole image, which convolutions spread only step by step. The last convolution starts at
    zero, so that each block starts as the identity.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.overall = nn.Linear(channels, channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(F.relu(x))
        hidden = hidden + self.overall(F.relu(hidden.mean((2, 3))))[:, :, None, None]
        return x + self.second(F.relu(hidden))


class ContextResNet(nn.Module):
    """A convolution, residual blocks, and a pointwise convolution to the output, which starts at zero.

    Args:
        in_channels: Number of channels of the input.
        channels: Number of channels of the blocks.
        n_blocks: Number of blocks.
        out_channels: Number of channels of the output.
        n_classes: Number of class labels the network is conditioned on; 0 for none.
    """

    def __init__(self, in_channels: int, channels: int, n_blocks: int, out_channels: int, n_classes: int = 0) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.label = ClassBias(n_classes, channels)
        self.blocks = nn.Sequential(*(ContextBlock(channels) for _ in range(n_blocks)))
        self.conv_out = nn.Conv2d(channels, out_channels, 1)
        nn.init.zeros_(self.conv_out.weight)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Map (batch, in_channels, height, width) to (batch, out_channels, height, width); labels are (batch,)."""
        hidden = self.label(self.conv_in(x), label)
        return self.conv_out(F.relu(self.blocks(hidden)))
