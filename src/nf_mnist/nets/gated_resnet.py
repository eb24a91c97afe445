"""Gated residual networks with global context: the conditioners of ``hierarchical`` on images."""

from torch import Tensor, nn
from torch.nn import functional as F


class GatedBlock(nn.Module):
    """``x + a sigmoid(b)`` with a and b from a 3x3 and a pointwise convolution, and a path through the overall mean.

    The gate is that of van den Oord et al. 2016 ("Conditional image generation with PixelCNN decoders", equation 2);
    the path through the mean lets each pixel know of the whole image, which the convolutions reach only in steps.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.overall = nn.Linear(channels, channels)
        self.second = nn.Conv2d(channels, 2 * channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(F.silu(x))
        hidden = hidden + self.overall(F.silu(hidden.mean((2, 3))))[:, :, None, None]
        return x + F.glu(self.second(F.silu(hidden)), dim=1)


class GatedResNet(nn.Module):
    """A convolution, gated blocks, and a pointwise convolution to the output, which starts at zero.

    Args:
        in_channels: Of the input.
        channels: Of the blocks.
        n_blocks: Number of blocks.
        out_channels: Of the output.
        n_classes: Number of class labels the network is conditioned on; 0 for none.
    """

    def __init__(self, in_channels: int, channels: int, n_blocks: int, out_channels: int, n_classes: int = 0) -> None:
        super().__init__()
        self.enter = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.label = nn.Embedding(n_classes, channels) if n_classes else None
        self.blocks = nn.Sequential(*(GatedBlock(channels) for _ in range(n_blocks)))
        self.leave = nn.Conv2d(channels, out_channels, 1)
        nn.init.zeros_(self.leave.weight)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        hidden = self.enter(x)
        if self.label is not None and label is not None:
            hidden = hidden + self.label(label)[:, :, None, None]
        return self.leave(F.silu(self.blocks(hidden)))
