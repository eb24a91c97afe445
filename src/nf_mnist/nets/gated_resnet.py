"""Gated residual networks: the conditioners of the UvA deep learning tutorial's flows (tutorial 11, P. Lippe)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nf_mnist.nets.labels import ClassBias


class ConcatELU(nn.Module):
    """Concatenate ``elu(x)`` and ``elu(-x)``, which doubles the channels (Salimans et al. 2017, "PixelCNN++")."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([F.elu(x), F.elu(-x)], 1)


class ChannelNorm(nn.LayerNorm):
    """Layer normalization over the channels of each pixel (Ba et al. 2016)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class GatedBlock(nn.Module):
    """``x + value * sigmoid(gate)``, both from a 3x3 and a pointwise convolution (Ho et al. 2019, section 3.3).

    Args:
        channels: Number of channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            ConcatELU(),
            nn.Conv2d(2 * channels, channels, 3, padding=1),
            ConcatELU(),
            nn.Conv2d(2 * channels, 2 * channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.layers(x).chunk(2, 1)
        return x + value * torch.sigmoid(gate)


class GatedResNet(nn.Module):
    """A convolution, gated blocks each followed by a normalization, and a convolution that starts at zero.

    Args:
        in_channels: Number of channels of the input, plus those of the image that the network is conditioned on, if
            there is one.
        channels: Number of channels of the blocks.
        n_blocks: Number of blocks.
        out_channels: Number of channels of the output.
        n_classes: Number of class labels the network is conditioned on; 0 for none.
    """

    def __init__(self, in_channels: int, channels: int, n_blocks: int, out_channels: int, n_classes: int = 0) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.label = ClassBias(n_classes, channels)
        self.blocks = nn.Sequential(
            *(nn.Sequential(GatedBlock(channels), ChannelNorm(channels)) for _ in range(n_blocks))
        )
        self.conv_out = nn.Sequential(ConcatELU(), nn.Conv2d(2 * channels, out_channels, 3, padding=1))
        for parameter in self.conv_out.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Map (batch, in_channels, height, width) to (batch, out_channels, height, width).

        The context is labels, shape (batch,), or an image, shape (batch, channels, height, width).
        """
        if context is not None and context.dim() > 1:
            return self.conv_out(self.blocks(self.conv_in(torch.cat([x, context], 1))))
        return self.conv_out(self.blocks(self.label(self.conv_in(x), context)))
