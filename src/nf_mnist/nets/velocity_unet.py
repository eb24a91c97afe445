"""The velocity field of a continuous flow of images: a small U-Net that knows the time and the class label."""

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nf_mnist.errors import ConfigError, ShapeError
from nf_mnist.nets.labels import LabelEmbedding

N_FREQUENCIES = 32
LARGEST_FREQUENCY = 64.0  # radians per unit of time; larger ones make velocities rough in time, and solvers slow
GROUPS = 8  # of GroupNorm
CHANNELS_OF_HEAD = 32  # of the attention, at least


class TimeEmbedding(nn.Module):
    """Sines and cosines of a time in [0, 1] at many frequencies, and a perceptron (Ho et al. 2020, appendix B).

    Args:
        features: Number of features of the embedding.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.proj_in = nn.Linear(2 * N_FREQUENCIES, features)
        self.hidden = nn.Linear(features, features)

    def forward(self, time: Tensor) -> Tensor:
        """Map times, shape (batch,), to features, shape (batch, features)."""
        exponents = torch.linspace(0, math.log(LARGEST_FREQUENCY), N_FREQUENCIES, dtype=time.dtype, device=time.device)
        angles = time[:, None] * exponents.exp()
        return self.hidden(F.silu(self.proj_in(torch.cat([angles.sin(), angles.cos()], 1))))


class TimedBlock(nn.Module):
    """A residual block of two 3x3 convolutions, scaled and shifted in between by the embedding of time and label.

    The second convolution is zero at first, and so is the block's own part.

    Args:
        in_channels: Number of channels of the input.
        channels: Number of channels of the output.
        features: Number of features of the embedding.
    """

    def __init__(self, in_channels: int, channels: int, features: int) -> None:
        super().__init__()
        self.norm, self.conv = nn.GroupNorm(GROUPS, in_channels), nn.Conv2d(in_channels, channels, 3, padding=1)
        self.scale_and_shift = nn.Linear(features, 2 * channels)
        self.last_norm = nn.GroupNorm(GROUPS, channels)
        self.last_conv = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.last_conv.weight)
        nn.init.zeros_(cast(Tensor, self.last_conv.bias))
        self.skip = nn.Identity() if in_channels == channels else nn.Conv2d(in_channels, channels, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Map x, shape (batch, in_channels, height, width), to (batch, channels, height, width)."""
        hidden = self.last_norm(self.conv(F.silu(self.norm(x))))
        scale, shift = self.scale_and_shift(embedding)[:, :, None, None].chunk(2, 1)
        return self.skip(x) + self.last_conv(F.silu(torch.addcmul(hidden + shift, hidden, scale)))


class ImageAttention(nn.Module):
    """Attention of every pixel to all pixels, as a residual layer that is zero at first.

    Args:
        channels: Number of channels; each head takes 32 of them, or more where that does not come out even.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.n_heads = _n_heads(channels)
        self.norm = nn.GroupNorm(GROUPS, channels)
        self.query_key_value, self.out = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        pixels = self.norm(x).flatten(2).transpose(1, 2)
        query, key, value = self.query_key_value(pixels).unflatten(-1, (3, self.n_heads, -1)).permute(2, 0, 3, 1, 4)
        weights = (query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])).softmax(-1)
        seen = self.out((weights @ value).transpose(1, 2).flatten(2))
        return x + seen.transpose(1, 2).unflatten(2, x.shape[2:])


class VelocityUNet(nn.Module):
    """Predict a velocity for each pixel from the image, the time and the label (after Ronneberger et al. 2015).

    The image is cut into squares of 2x2 pixels, whose pixels become channels; the net works at half and at a quarter of
    the resolution. Its last layer is zero at first, and so are all velocities.

    Args:
        event_shape: (channels, height, width); both sides are even.
        channels: Number of channels at half resolution, a multiple of 8; there are twice as many at a quarter.
        n_blocks: Number of residual blocks on the way down, and on the way up, at each resolution.
        n_classes: Number of class labels the network is conditioned on; 0 for none.

    Raises:
        ShapeError: If a side is odd.
        ConfigError: If the number of channels is not a multiple of 8.
    """

    def __init__(self, event_shape: tuple[int, ...], channels: int, n_blocks: int, n_classes: int = 0) -> None:
        super().__init__()
        image_channels, height, width = event_shape
        if height % 2 or width % 2:
            raise ShapeError(f"the U-Net cuts images into squares of 2x2; images of {height}x{width} have an odd side")
        if channels < GROUPS or channels % GROUPS:
            raise ConfigError(f"unet_channels must be a multiple of {GROUPS}, got {channels}")
        features, wide = 4 * channels, 2 * channels
        self.time, self.label = TimeEmbedding(features), LabelEmbedding(n_classes, features)
        self.conv_in = nn.Conv2d(4 * image_channels, channels, 3, padding=1)
        self.down = _blocks(channels, channels, n_blocks, features)
        self.downsample = nn.Conv2d(channels, wide, 3, stride=2, padding=1)
        self.down_again = _blocks(wide, wide, n_blocks, features)
        self.attention = ImageAttention(wide)
        self.up = _blocks(2 * wide, wide, n_blocks, features)
        self.upsample = nn.Conv2d(wide, channels, 3, padding=1)
        self.up_again = _blocks(2 * channels, channels, n_blocks, features)
        self.norm_out = nn.GroupNorm(GROUPS, channels)
        self.conv_out = nn.Conv2d(channels, 4 * image_channels, 3, padding=1)
        nn.init.zeros_(self.conv_out.weight)
        nn.init.zeros_(cast(Tensor, self.conv_out.bias))

    def forward(self, x: Tensor, time: Tensor, label: Tensor | None = None) -> Tensor:
        """Return velocities, shape of x.

        Args:
            x: Images on their way between data and noise, shape (batch, *event_shape).
            time: Times in [0, 1], shape (batch,).
            label: Labels, shape (batch,), or None; :data:`~nf_mnist.nets.NO_LABEL` stands for any class.
        """
        embedding = F.silu(self.label(self.time(time), label))
        half = _through(self.down, self.conv_in(F.pixel_unshuffle(x, 2)), embedding)
        quarter = _through(self.down_again, self.downsample(half), embedding)
        hidden = _through(self.up, torch.cat([self.attention(quarter), quarter], 1), embedding)
        hidden = self.upsample(F.interpolate(hidden, size=half.shape[2:]))
        hidden = _through(self.up_again, torch.cat([hidden, half], 1), embedding)
        return F.pixel_shuffle(self.conv_out(F.silu(self.norm_out(hidden))), 2)


def _blocks(in_channels: int, channels: int, n_blocks: int, features: int) -> nn.ModuleList:
    return nn.ModuleList(TimedBlock(channels if i else in_channels, channels, features) for i in range(n_blocks))


def _through(blocks: nn.ModuleList, x: Tensor, embedding: Tensor) -> Tensor:
    for block in blocks:
        x = block(x, embedding)
    return x


def _n_heads(channels: int) -> int:
    """Return the largest number of heads that divides the channels and leaves each head at least 32 of them, or 1."""
    return next(n for n in range(max(1, channels // CHANNELS_OF_HEAD), 0, -1) if channels % n == 0)
