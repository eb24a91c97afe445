"""Images of another kind than those of a training: functions of grey levels, shape (n, 1, 28, 28) and dtype uint8."""

import torch
from torch import Tensor
from torch.nn import functional as F


def blurred(levels: Tensor) -> Tensor:
    """Return images that were stored with 14x14 pixels and enlarged again."""
    small = F.avg_pool2d(levels.float(), 2)
    return to_bytes(F.interpolate(small, scale_factor=2, mode="bilinear"))


def without_margin(levels: Tensor) -> Tensor:
    """Return digits that fill the image: the margin of 4 pixels that MNIST has around them was not added."""
    return to_bytes(F.interpolate(levels[:, :, 4:24, 4:24].float(), size=28, mode="bilinear"))


def transposed(levels: Tensor) -> Tensor:
    """Return images whose columns were read as rows, as in files of EMNIST."""
    return levels.transpose(2, 3).contiguous()


def binarised(levels: Tensor) -> Tensor:
    """Return images of black and white only."""
    return ((levels > 127) * 255).to(torch.uint8)


def noisy(levels: Tensor) -> Tensor:
    """Return images with the noise of an augmentation, with a deviation of 25 levels."""
    noise = torch.randn(levels.shape, generator=torch.Generator().manual_seed(0))
    return to_bytes(levels + 25 * noise)


def repeated(levels: Tensor) -> Tensor:
    """Return 20 images again and again: the index of a batch was taken for that of an image."""
    return levels[torch.arange(len(levels)) % 20]


def to_bytes(levels: Tensor) -> Tensor:
    """Round to whole levels from 0 to 255."""
    return levels.round().clamp(0, 255).to(torch.uint8)
