"""Residual convolutional networks with MLP heads: the conditioners of ``resflow``."""

from typing import cast

import torch
from torch import Tensor, nn

from nf_mnist.bijectors import Shape
from nf_mnist.nets.normed_conv import convolve_and_normalize


class MLPHead(nn.Module):
    """A hidden layer between all pixels of an image, so that each output pixel sees each input pixel.

    Args:
        event_shape: (channels, height, width) of input and output.
        features: Width of the hidden layer.
    """

    def __init__(self, event_shape: Shape, features: int) -> None:
        super().__init__()
        dims = torch.Size(event_shape).numel()
        self.layers = nn.Sequential(nn.Linear(dims, features), nn.ReLU(), nn.Linear(features, dims))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x.flatten(1)).reshape(x.shape)


class ResidualBlock(nn.Module):
    """``x + head(norm(conv(relu(norm(conv(x))))))`` with 3x3 convolutions.

    Args:
        channels: Number of channels of input and output.
        hidden_channels: Number of channels between the convolutions.
        head: Last layer inside the skip; None for none.
    """

    def __init__(self, channels: int, hidden_channels: int, head: nn.Module | None = None) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, hidden_channels, 3, padding=1),
            nn.BatchNorm2d(hidden_channels),
            nn.ReLU(),
            nn.Conv2d(hidden_channels, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
        )
        if head is not None:
            self.layers.append(head)

    def forward(self, x: Tensor) -> Tensor:
        conv, norm, *rest = self.layers
        hidden = convolve_and_normalize(x, cast(nn.Conv2d, conv), norm)
        for layer in rest:
            hidden = layer(hidden)
        return x + hidden


class ResidualNet(nn.Sequential):
    """Two residual blocks with a ReLU between them; the second has an MLP head inside its skip.

    Args:
        event_shape: (channels, height, width) of input and output.
        hidden_channels: Width of the convolutions.
        mlp_features: Width of the MLP head. 0 leaves the head out; an output pixel then sees 9x9 pixels.
    """

    def __init__(self, event_shape: Shape, hidden_channels: int, mlp_features: int) -> None:
        channels = event_shape[0]
        head = MLPHead(event_shape, mlp_features) if mlp_features else None
        super().__init__(
            ResidualBlock(channels, hidden_channels),
            nn.ReLU(),
            ResidualBlock(channels, hidden_channels, head),
        )
        self.apply(_xavier)


def _xavier(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.xavier_normal_(module.weight)
        nn.init.zeros_(module.bias)  # type: ignore[arg-type]
