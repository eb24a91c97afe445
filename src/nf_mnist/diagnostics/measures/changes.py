"""Changes of images, each of which undoes a way in which images may reach a flow otherwise than in its training."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from nf_mnist.diagnostics.access.batch import Batch

MARGINS = (0.01, 0.05, 0.1)  # of a logit behind which a flow may have been trained
MIN_SHIFT = 2  # pixels; images of any set differ by one


class Change(NamedTuple):
    """A change of dithered images.

    Attributes:
        name: How the images are, if this change undoes it.
        apply: Returns the changed images, of the same shape.
        log_slope: Logarithm of the factor by which it stretches each dimension.
    """

    name: str
    apply: Callable[[Tensor], Tensor]
    log_slope: float = 0.0


TURNS = (
    Change("transposed", lambda x: x.mT),
    Change("upside down", lambda x: x.flip(-2)),
    Change("mirrored", lambda x: x.flip(-1)),
    Change("turned by half", lambda x: x.flip(-1, -2)),
    Change("turned to the left", lambda x: x.rot90(1, (-2, -1))),
    Change("turned to the right", lambda x: x.rot90(-1, (-2, -1))),
    Change("transposed along the other diagonal", lambda x: x.rot90(2, (-2, -1)).mT),
    Change("inverted, black for white", lambda x: 1 - x),
)


def _on_levels(change: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Return a change of grey levels as one of dithered images, which keep their dither."""

    def apply(x: Tensor) -> Tensor:
        levels = (256 * x).floor()
        return x + (change(levels).round().clamp(0, 255) - levels) / 256

    return apply


HALVES = (
    Change("in the upper half of the levels only, as after x / 2 + 1 / 2", _on_levels(lambda v: 2 * v - 255)),
    Change("in the lower half of the levels only, as after x / 2", _on_levels(lambda v: 2 * v)),
)
CURVES = (
    Change("squared", _on_levels(lambda v: 255 * (v / 255).sqrt())),
    Change("as after a square root", _on_levels(lambda v: 255 * (v / 255).square())),
)


def _scaled(name: str, slope: float, offset: float) -> Change:
    return Change(name, lambda x: slope * x + offset, math.log(slope))


def _with_margin(margin: float) -> Change:
    name = f"without the margin of {margin:g} that they had in training, as of another logit"
    return _scaled(name, 1 - 2 * margin, margin)


SCALES = (
    *(_with_margin(margin) for margin in MARGINS),
    _scaled("in [0, 1] and not in [-1, 1] as in training", 2.0, -1.0),
    _scaled("in [0, 1] and not in [-0.5, 0.5] as in training", 1.0, -0.5),
    _scaled("in [0, 1] and not less the mean and over the deviation of MNIST as in training", 1 / 0.3081, -0.4242),
    _scaled("in [0, 1] and not in [0, 256] as in training", 256.0, 0.0),
)
SIMPLE = (*TURNS, *HALVES, *CURVES)


def shifts(images: Tensor, reference: Tensor) -> list[Change]:
    """Return the shifts that bring the mean of images closest to a reference: along the rows, and in the plane.

    Args:
        images: Images, shape (n, channels, height, width).
        reference: The mean image that they should have, shape (channels, height, width).
    """
    mean = images.mean(0)
    along = _best_lag(mean.flatten(), reference.flatten(), (0,))
    down, right = _best_lag(mean, reference, (-2, -1))
    found = []
    if abs(along[0]) >= MIN_SHIFT:
        name = f"displaced by {abs(along[0])} pixels along the rows, with wrap-around, as after a header read as pixels"
        found.append(Change(name, lambda x: x.flatten(1).roll(along[0], 1).reshape(x.shape)))
    if max(abs(down), abs(right)) >= MIN_SHIFT:
        name = f"displaced by {abs(down)} pixels vertically and {abs(right)} horizontally"
        found.append(Change(name, lambda x: x.roll((down, right), (-2, -1))))
    return found


def _best_lag(image: Tensor, reference: Tensor, dims: tuple[int, ...]) -> tuple[int, ...]:
    """Return by how much to roll an image along some dimensions so that it is closest to a reference."""
    spectra = [torch.fft.fftn(one - one.mean(), dim=dims) for one in (image.double(), reference.double())]
    product = torch.fft.ifftn(spectra[0].conj() * spectra[1], dim=dims).real
    if len(dims) == 2:
        product = product.sum(0)
    at = torch.unravel_index(product.argmax(), product.shape)
    return tuple(int(lag) - size if lag > size // 2 else int(lag) for lag, size in zip(at, product.shape, strict=True))


def changed(batch: Batch, change: Change) -> Batch:
    """Return a batch whose images are changed; its levels stay as they are."""
    return batch._replace(x=change.apply(batch.x).contiguous())


def fits(change: Change, x: Tensor) -> bool:
    """Return whether a change keeps the shape of images."""
    return change.apply(x[:1]).shape == x[:1].shape
