"""Masks of observed and hidden pixels, and the noise that replaces hidden pixels."""

from collections.abc import Callable

import torch
from torch import Tensor

from nf_mnist.bijectors import Shape
from nf_mnist.data import read_picture, region
from nf_mnist.errors import ConfigError, ShapeError

# CP3 is a simplified Real NVP known to us only from its authors' report; its noise leaves this margin to 0 and 1.
CP3_MARGIN = 1e-4
Hidden = Callable[[int, int, torch.Generator], Tensor]

# Hidden pixels, shape (height, width), by the name of the mask; random masks use the generator.
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
    """Return a boolean mask of the observed pixels, shape (1, height, width).

    Args:
        hidden: Name of the hidden part, a key of :data:`HIDDEN`; or the path of a ``.png`` file whose dark pixels
            (below 128) are hidden.
        event_shape: Shape of the images, (1, height, width).
        seed: Seed for random masks.

    Raises:
        ConfigError: If there is no mask of this name.
        DataError: If the file cannot be read.
        ShapeError: If the file has another size than the images, or the mask hides everything or nothing.
    """
    name = str(hidden)  # a configuration may hold a number or null
    if name.endswith(".png"):
        observed = read_picture(name) >= 128
    elif name in HIDDEN:
        observed = ~HIDDEN[name](event_shape[1], event_shape[2], torch.Generator().manual_seed(seed))[None]
    else:
        raise ConfigError(f"unknown mask {hidden!r}; choose one of {', '.join(HIDDEN)}, or a .png")
    check_observed(observed, event_shape)
    return observed


def check_observed(observed: Tensor, event_shape: Shape) -> None:
    """Check that a mask has the shape of the images, and hides some of their pixels but not all.

    Raises:
        ShapeError: If it does not.
    """
    if observed.shape != event_shape:
        raise ShapeError(f"the mask is {tuple(observed.shape)}, the images are {tuple(event_shape)}")
    if observed.all() or not observed.any():
        raise ShapeError(f"the mask hides {'nothing' if observed.all() else 'everything'}; hide a part of the image")


def corrupt(x: Tensor, observed: Tensor, corruption: str, generator: torch.Generator) -> Tensor:
    """Replace the hidden pixels of images. Observed pixels stay the same, bit for bit.

    Args:
        x: Images in [0, 1], shape (batch, 1, height, width).
        observed: Boolean mask of the observed pixels, shape (1, height, width).
        corruption: What replaces the hidden pixels: ``gaussian_noise``, CP3's normal noise of standard deviation 0.3,
            clipped to [1e-4, 1 - 1e-4]; ``uniform`` noise; or ``black``.
        generator: CPU generator for the noise.

    Raises:
        ConfigError: If there is no corruption of this name.
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
