"""Pre-activation residual networks with batch normalization: the conditioners of ``realnvp`` and ``spline``."""

from torch import Tensor, nn
from torch.nn import functional as F

from nf_mnist.nets.labels import ClassBias


class PreactivationBlock(nn.Module):
    """``x + conv(relu(norm(conv(relu(norm(x))))))`` with 3x3 convolutions (He et al. 2016, figure 4e)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class PreactivationResNet(nn.Module):
    """A 3x3 convolution, residual blocks, and a pointwise convolution to the output, which starts at zero.

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
        self.blocks = nn.Sequential(*(PreactivationBlock(channels) for _ in range(n_blocks)))
        self.norm = nn.BatchNorm2d(channels)
        self.conv_out = nn.Conv2d(channels, out_channels, 1)
        for parameter in self.conv_out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Map (batch, in_channels, height, width) to (batch, out_channels, height, width)."""
        hidden = self.blocks(self.label(self.conv_in(x), label))
        return self.conv_out(F.relu(self.norm(hidden)))
