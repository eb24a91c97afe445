"""What is observed and what is hidden, and what stands in the hidden place at first."""

from collections.abc import Callable

import torch
from torch import Tensor

from nf_mnist.bijectors import Shape
from nf_mnist.data import read_picture, region
from nf_mnist.errors import ConfigError, ShapeError

CP3_MARGIN = 1e-4
Hidden = Callable[[int, int, torch.Generator], Tensor]

# What is hidden: rows and columns, and a generator for what is drawn.
HIDDEN: dict[str, Hidden] = {
    "lower": lambda height, width, _: region("lower", height, width),
    "upper": lambda height, width, _: region("upper", height, width),
    "left": lambda height, width, _: region("left", height, width),
    "right": lambda height, width, _: region("right", height, width),
    "centre": lambda height, width, _: region("centre", height, width),
    "random_50": lambda height, width, generator: torch.rand(height, width, generator=generator) < 0.5,
    "random_90": lambda height, width, generator: torch.rand(height, width, generator=generator) < 0.9,
    "rows": lambda height, width, _: region("rows", height, width),
}


def make_observed(hidden: str, event_shape: Shape, seed: int = 0) -> Tensor:
    """Return which pixels are observed, shape (1, height, width) and dtype bool.

    Args:
        hidden: What is hidden: a name of :data:`HIDDEN`, or a ``.png`` whose dark pixels (below 128) are hidden.
        event_shape: (1, height, width) of the images.
        seed: Of masks that are drawn.

    Raises:
        ConfigError: If there is no such mask.
        DataError: If the file cannot be read.
        ShapeError: If the file has another size than the image, or everything or nothing is hidden.
    """
    name = str(hidden)  # a configuration may hold a number, or nothing
    if name.endswith(".png"):
        observed = read_picture(name) >= 128
    elif name in HIDDEN:
        observed = ~HIDDEN[name](event_shape[1], event_shape[2], torch.Generator().manual_seed(seed))[None]
    else:
        raise ConfigError(f"unknown mask {hidden!r}; choose one of {', '.join(HIDDEN)}, or a .png")
    check_observed(observed, event_shape)
    return observed


def check_observed(observed: Tensor, event_shape: Shape) -> None:
    """Refuse a mask of the wrong size, and one that hides everything or nothing.

    Raises:
        ShapeError: Saying which.
    """
    if observed.shape != event_shape:
        raise ShapeError(f"the mask is {tuple(observed.shape)}, the images are {tuple(event_shape)}")
    if observed.all() or not observed.any():
        raise ShapeError(f"the mask hides {'nothing' if observed.all() else 'everything'}; hide a part of the image")


def corrupt(x: Tensor, observed: Tensor, corruption: str, generator: torch.Generator) -> Tensor:
    """Replace hidden pixels; observed ones stay as they are, bit for bit.

    Args:
        x: Images in [0, 1], shape (batch, 1, height, width).
        observed: Shape (1, height, width).
        corruption: ``gaussian_noise``, normal noise of standard deviation 0.3 clipped to [1e-4, 1 - 1e-4]; ``black``; or
            ``uniform`` noise.
        generator: Of the noise, on the CPU.

    Raises:
        ConfigError: If there is no such corruption.
    """
    if corruption == "gaussian_noise":
        other = (0.3 * torch.randn(x.shape, generator=generator)).clamp(CP3_MARGIN, 1 - CP3_MARGIN)
    elif corruption == "uniform":
        other = torch.rand(x.shape, generator=generator)
    elif corruption == "black":
        other = torch.zeros(x.shape)
    else:
        raise ConfigError(f"unknown corruption {corruption!r}; choose gaussian_noise, black or uniform")
    return torch.where(observed.to(x.device), x, other.to(x))
