"""Statistics of single images, and how far two sets of images differ in them beyond what chance gives.

Nothing here knows what images are usual: a set is compared only with the training images of its flow.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

STANDARD_ERRORS = 4.0  # of the difference of two means, which are taken for chance
CHANCE_DEVIATIONS = 3.5  # of a normal, whose probability the distance of two mean images exceeds by chance

MEAN = "mean level"
LIT = "share of pixels that are not black"
SATURATED = "share of pixels at 255"
N_LEVELS = "number of levels"
SHARPNESS = "sharpness"
HEIGHT, WIDTH = "height of what is lit", "width of what is lit"
ROW, COLUMN = "row of the centre", "column of the centre"
OFF_CENTRE = "distance of the centre from the middle"


class Statistic(NamedTuple):
    """A number that describes one image.

    Attributes:
        name: What it is, in words.
        measure: Returns it for grey levels of shape (n, *event), in float64 and shape (n,).
        floor: Smallest deviation over images, in its own unit, that differences are divided by.
        needs_plane: Whether it is defined only for images of shape (channels, height, width).
    """

    name: str
    measure: Callable[[Tensor], Tensor]
    floor: float
    needs_plane: bool = False


class Difference(NamedTuple):
    """How two sets of images differ in a statistic.

    Attributes:
        scored: Mean over the images that are scored.
        train: Mean over the training images.
        size: Difference of both in deviations over training images, with its sign; 0 where chance explains it.
    """

    scored: float
    train: float
    size: float


def differences(images: Tensor, train: Tensor) -> dict[str, Difference]:
    """Return the differences of two sets of images in each statistic, by name.

    Args:
        images: Grey levels, shape (n, *event).
        train: Grey levels to compare with, shape (m, *event).
    """
    fitting = [one for one in STATISTICS if images.dim() == 4 or not one.needs_plane]
    return {one.name: _difference(one.measure(images), one.measure(train), one.floor) for one in fitting}


def _difference(scored: Tensor, train: Tensor, floor: float) -> Difference:
    """Return the difference of the means of two samples of shapes (n,) and (m,), less four standard errors."""
    apart = (scored.mean() - train.mean()).item()
    error = (scored.var() / len(scored) + train.var() / len(train)).sqrt().item()
    beyond = max(abs(apart) - STANDARD_ERRORS * error, 0.0)
    deviation = max(train.std().item(), floor)
    return Difference(scored.mean().item(), train.mean().item(), math.copysign(beyond, apart) / deviation)


def distance_of_means(images: Tensor, train: Tensor) -> float:
    """Return the distance of two mean images, root mean square over pixels, in deviations of the pixels.

    For two samples of one set the squared distance is nearly a multiple of a chi-squared variable: its mean is the
    trace of the covariance C of the difference, and it has tr(C)^2 / tr(C^2) degrees of freedom (Satterthwaite 1946).
    What it exceeds once in 4000 times (Wilson and Hilferty 1931) is subtracted.

    Args:
        images: Grey levels, shape (n, *event).
        train: Grey levels to compare with, shape (m, *event).
    """
    one, other = images.flatten(1).double(), train.flatten(1).double()
    rows = torch.cat([_of_covariance(one), _of_covariance(other)])
    expected = rows.square().sum()
    third = 2 * _inner(rows).square().sum() / (9 * expected.square()).clamp(min=1e-30)
    chance = expected * (1 - third + CHANCE_DEVIATIONS * third.sqrt()) ** 3
    squared = (one.mean(0) - other.mean(0)).square().sum() - chance
    total = other.var(0).sum().clamp(min=other.shape[1])  # a deviation of one level at least
    return (squared.clamp(min=0) / total).sqrt().item()


def _of_covariance(values: Tensor) -> Tensor:
    """Return rows R, of the shape (n, dims) of some values, so that the covariance of their mean is R^T R."""
    n = len(values)
    return (values - values.mean(0)) / math.sqrt(n * (n - 1))


def _inner(rows: Tensor) -> Tensor:
    """Return R R^T or R^T R, whichever is smaller: the sums of their squares are equal."""
    return rows @ rows.T if len(rows) < rows.shape[1] else rows.T @ rows


def mean_level(levels: Tensor) -> Tensor:
    """Return the mean level of each image, shape (n,), from 0 to 255."""
    return levels.flatten(1).double().mean(1)


def lit_share(levels: Tensor) -> Tensor:
    """Return the share of pixels of each image that are not exactly black, shape (n,)."""
    return (levels > 0).flatten(1).double().mean(1)


def saturated_share(levels: Tensor) -> Tensor:
    """Return the share of pixels of each image that have the highest level, shape (n,)."""
    return (levels == 255).flatten(1).double().mean(1)


def number_of_levels(levels: Tensor) -> Tensor:
    """Return how many different levels each image has, shape (n,)."""
    ordered = levels.flatten(1).sort(1).values
    return 1 + (ordered[:, 1:] != ordered[:, :-1]).sum(1).double()


def sharpness(levels: Tensor) -> Tensor:
    """Return the differences of neighbouring pixels over the levels, sums over each image, shape (n,).

    Unlike their own sum, it stays as it is when an image is darkened.
    """
    values = levels.double()
    steps = sum(values.diff(dim=dim).abs().flatten(1).sum(1) for dim in (-2, -1))
    return steps / values.flatten(1).sum(1).clamp(min=1)


def extent(dim: int) -> Callable[[Tensor], Tensor]:
    """Return a function for the size in pixels, along a dimension of images, of the box of all that is not black."""

    def measure(levels: Tensor) -> Tensor:
        lit = (levels > 0).any(1).any(-3 - dim)
        n_before = lit.byte().argmax(1)
        n_after = lit.flip(1).byte().argmax(1)
        return torch.where(lit.any(1), lit.shape[1] - n_before - n_after, 0).double()

    return measure


def centre(dim: int) -> Callable[[Tensor], Tensor]:
    """Return a function for the position in pixels, along a dimension of images, of their centre of brightness."""

    def measure(levels: Tensor) -> Tensor:
        along = levels.double().sum(1).sum(-3 - dim)
        places = torch.arange(along.shape[1], device=levels.device).double()
        middle = places.mean()
        return middle + (along * (places - middle)).sum(1) / along.sum(1).clamp(min=1)

    return measure


def off_centre(levels: Tensor) -> Tensor:
    """Return the distance in pixels between the centre of brightness of each image and its middle, shape (n,)."""
    middles = [(levels.shape[dim] - 1) / 2 for dim in (-2, -1)]
    return torch.hypot(*(centre(dim)(levels) - middle for dim, middle in zip((-2, -1), middles, strict=True)))


STATISTICS = (
    Statistic(MEAN, mean_level, 1.0),
    Statistic(LIT, lit_share, 0.01),
    Statistic(SATURATED, saturated_share, 0.01),
    Statistic(N_LEVELS, number_of_levels, 1.0),
    Statistic(SHARPNESS, sharpness, 0.02, needs_plane=True),
    Statistic(HEIGHT, extent(-2), 0.5, needs_plane=True),
    Statistic(WIDTH, extent(-1), 0.5, needs_plane=True),
    Statistic(ROW, centre(-2), 0.1, needs_plane=True),
    Statistic(COLUMN, centre(-1), 0.1, needs_plane=True),
    Statistic(OFF_CENTRE, off_centre, 0.1, needs_plane=True),
)
