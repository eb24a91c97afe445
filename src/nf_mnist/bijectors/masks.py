"""Binary masks of coupling layers: 1 where the input passes unchanged, 0 where it is transformed.

Each function takes an event shape, (channels, height, width) or (dims,), and returns a float tensor of that shape. The
next coupling takes the complement, ``1 - mask``.
"""

import torch
from torch import Tensor

from nf_mnist.bijectors.base import Shape
from nf_mnist.errors import ConfigError, ShapeError


def checkerboard(shape: Shape) -> Tensor:
    """Return a checkerboard over height and width, the same in every channel: 1 where row + column is even."""
    _, height, width = _image_shape(shape, "checkerboard")
    cells = (torch.arange(height)[:, None] + torch.arange(width)) % 2 == 0
    return cells.float().expand(shape).clone()


def stripes(shape: Shape) -> Tensor:
    """Return a mask of every second element of the flattened image: 1 on even positions.

    On an even width these are column stripes and not a checkerboard, as is easily assumed: an element's vertical
    neighbours are masked together with it.
    """
    _image_shape(shape, "stripes")
    return even_odd((int(torch.Size(shape).numel()),)).reshape(shape)


def channel(shape: Shape) -> Tensor:
    """Return 1 on the first half of the channels and 0 on the second."""
    channels, _, _ = _image_shape(shape, "channel")
    if channels < 2:
        raise ShapeError(f"a channel mask needs at least 2 channels, got {channels}; squeeze the image first")
    mask = torch.zeros(shape)
    mask[: channels // 2] = 1
    return mask


def even_odd(shape: Shape) -> Tensor:
    """Return a mask of every second element of a flat vector: 1 on even positions."""
    return (torch.arange(_dims(shape, "even_odd")) % 2 == 0).float()


def halves(shape: Shape) -> Tensor:
    """Return 1 on the first half of a flat vector and 0 on the second."""
    dims = _dims(shape, "halves")
    return (torch.arange(dims) < dims // 2).float()


MASKS = {
    "checkerboard": checkerboard,
    "stripes": stripes,
    "channel": channel,
    "even_odd": even_odd,
    "halves": halves,
}


def make_mask(kind: str, shape: Shape) -> Tensor:
    """Return the mask of a given name.

    Args:
        kind: A name of :data:`MASKS`.
        shape: Event shape, (channels, height, width) or (dims,).

    Raises:
        ConfigError: If there is no mask of that name.
        ShapeError: If the mask does not suit the event shape.
    """
    if kind not in MASKS:
        raise ConfigError(f"unknown mask {kind!r}; choose one of {', '.join(MASKS)}")
    return MASKS[kind](tuple(shape))


def _image_shape(shape: Shape, name: str) -> tuple[int, int, int]:
    if len(shape) != 3:
        raise ShapeError(f"a {name} mask needs a (channels, height, width) event, got shape {tuple(shape)}")
    return shape


def _dims(shape: Shape, name: str) -> int:
    if len(shape) != 1:
        raise ShapeError(f"a {name} mask needs a flat event, got shape {tuple(shape)}; flatten the image first")
    return shape[0]
