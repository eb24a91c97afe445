"""Convolutions followed by a multi-layer perceptron: the conditioners of ``cp3``."""

from torch import Tensor, nn

from nf_mnist.bijectors import Shape
from nf_mnist.errors import ConfigError, ShapeError

KERNEL = 4


class ConvMLP(nn.Module):
    """Three 4x4 convolutions, the second with stride 2, then linear layers back to the size of the image.

    In CP3, a simplified Real NVP known to us only from its authors' report, the convolutions have 128, 64 and 8
    channels and the linear layers 256, 128 and 784 outputs. The flat input is read as an image even after shuffles.

    Args:
        image_shape: (channels, height, width) of the image that the flat input is read as; at least 13x13.
        hidden_channels: Channels of the first convolution; the second has a half and the third a sixteenth of them.
        mlp_features: Width of the first linear layer; the second is half as wide.

    Raises:
        ConfigError: If ``hidden_channels`` is below 16 or ``mlp_features`` below 2.
        ShapeError: If the image is too small for the convolutions.
    """

    def __init__(self, image_shape: Shape, hidden_channels: int, mlp_features: int) -> None:
        super().__init__()
        self.image_shape = tuple(image_shape)
        channels, height, width = image_shape
        sides = [((side - KERNEL + 1) - KERNEL) // 2 + 1 - KERNEL + 1 for side in (height, width)]
        if min(sides) < 1:
            raise ShapeError(f"cp3's convolutions need images of at least 13x13 pixels, got {height}x{width}")
        if hidden_channels < 16 or mlp_features < 2:
            raise ConfigError(
                f"cp3 needs hidden_channels >= 16 and mlp_features >= 2, got {hidden_channels} and {mlp_features}"
            )
        last_channels = hidden_channels // 16
        self.layers = nn.Sequential(
            nn.Conv2d(channels, hidden_channels, KERNEL),
            nn.BatchNorm2d(hidden_channels),
            nn.ReLU(),
            nn.Conv2d(hidden_channels, hidden_channels // 2, KERNEL, stride=2),
            nn.BatchNorm2d(hidden_channels // 2),
            nn.ReLU(),
            nn.Conv2d(hidden_channels // 2, last_channels, KERNEL),
            nn.BatchNorm2d(last_channels),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(last_channels * sides[0] * sides[1], mlp_features),
            nn.ReLU(),
            nn.Linear(mlp_features, mlp_features // 2),
            nn.ReLU(),
            nn.Linear(mlp_features // 2, channels * height * width),
        )
        self.apply(_orthogonal)

    def forward(self, x: Tensor) -> Tensor:
        """Map flat events, shape (batch, dims), to the same shape."""
        return self.layers(x.reshape(len(x), *self.image_shape))


def _orthogonal(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.orthogonal_(module.weight)
        nn.init.zeros_(module.bias)
