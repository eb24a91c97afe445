"""The networks of Glow (Kingma and Dhariwal 2018, section 4 and the authors' code)."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nf_mnist.nets.labels import ClassBias


class ZeroConv(nn.Module):
    """A 3x3 convolution that starts at zero; each output channel is scaled by ``exp(3 a)`` with a learned ``a``.

    Args:
        in_channels: Number of channels of the input.
        out_channels: Number of channels of the output.
        n_classes: Number of class labels the output is conditioned on; 0 for none.
    """

    def __init__(self, in_channels: int, out_channels: int, n_classes: int = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.label = ClassBias(n_classes, out_channels)
        self.log_scale = nn.Parameter(torch.zeros(out_channels, 1, 1))
        for parameter in self.conv.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Map (batch, in_channels, height, width) to (batch, out_channels, height, width)."""
        return self.label(self.conv(x), label) * (3 * self.log_scale).exp()


class GlowConv(nn.Module):
    """Three convolutions, 3x3, 1x1 and 3x3, with ReLUs between them; the last one starts at zero.

    Unlike Glow's, the hidden layers have no activation normalization. As in Glow, their initial weights have standard
    deviation 0.05.

    Args:
        in_channels: Number of channels of the input.
        channels: Number of channels of the hidden layers.
        out_channels: Number of channels of the output.
        n_classes: Number of class labels the network is conditioned on; 0 for none.
    """

    def __init__(self, in_channels: int, channels: int, out_channels: int, n_classes: int = 0) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(in_channels, channels, 3, padding=1)
        self.middle = nn.Conv2d(channels, channels, 1)
        self.conv_out = ZeroConv(channels, out_channels, n_classes)
        for conv in (self.conv_in, self.middle):
            nn.init.normal_(conv.weight, std=0.05)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """Map (batch, in_channels, height, width) to (batch, out_channels, height, width)."""
        return self.conv_out(F.relu(self.middle(F.relu(self.conv_in(x)))), label)
