"""How MNIST's grey levels came about: a bilevel digit, area-resampled to 20x20 and pasted into 28x28.

A bilevel digit is an image of m x m, 1 where there is ink. *Cells* are the pixels of the 20x20 image; each is the
share of ink in the source pixels that it covers. A source pixel covers only 0.99 of the spacing between source pixels,
and one that straddles two cells loses the rest: full ink is 1, rho or rho^2 with ``rho = 1 - 0.2 / m``, by the number
of axes on which the cell begins inside a source pixel. So m alone says which few levels a cell can take.

Yadav & Bottou 2019, "Cold case: the lost MNIST digits", describe how the digits were resampled; the rule of rounding
was found from the images.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

GRID = 20  # cells on each axis
SIDE = 28  # of the image that the cells are pasted into
SIDES = range(20, 83)  # of the bilevel digits of MNIST
COVERED = 0.99  # of the spacing between source pixels
CENTRE = 15  # the barycentre is pasted up to a pixel before it, counted from the image's edge
N_INKS = 3  # what is taken for white: 1, rho or rho^2
FLOAT_ERROR = 1e-6  # of a share of ink in single precision, in which MNIST was computed


def resampling_matrix(m: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return how much of its ink each of m source pixels gives to each cell of an axis, shape (20, m)."""
    spacing = torch.tensor(GRID / m, dtype=dtype)
    begin = torch.arange(m) * spacing
    end, cell = begin + COVERED * spacing, begin.floor()
    is_inside = end <= cell + 1
    matrix = torch.zeros(GRID + 1, m, dtype=dtype)
    source, row = torch.arange(m), cell.long()
    matrix[row, source] = torch.where(is_inside, spacing, cell + 1 - begin)
    matrix[row + 1, source] = torch.where(is_inside, 0.0, end - (cell + 1))
    return matrix[:GRID]


def resampling_matrices(width: int) -> Tensor:
    """Return the matrices of all sides in :data:`SIDES`, shape (sides, 20, width); columns beyond a side are 0."""
    return torch.stack([F.pad(resampling_matrix(m), (0, width - m)) for m in SIDES])


def shares_of_ink(bilevel: Tensor, matrices: Tensor | None = None) -> Tensor:
    """Return the share of ink in each cell, shape (batch, 20, 20), of bilevel digits.

    Args:
        bilevel: Digits, shape (batch, m, m); or, of several sides, each at the beginning of an array of shape (batch,
            width, width).
        matrices: For digits of several sides, the matrix of each, shape (batch, 20, width).
    """
    matrix = resampling_matrix(bilevel.shape[-1]) if matrices is None else matrices
    return matrix @ bilevel.to(matrix) @ matrix.mT


def to_grey(share: Tensor, ink: Tensor | float) -> Tensor:
    """Return levels 0 .. 255 as floats, of shares of ink and of the share that is white.

    They are rounded towards 128: up below it, down above it.
    """
    return (128 + (255 * share / ink - 128).trunc()).clamp(0, 255)


def resample(bilevel: Tensor, matrices: Tensor | None = None) -> Tensor:
    """Return grey images, shape (batch, 20, 20) and dtype uint8, of bilevel digits.

    The share of the cell with most ink is white.

    Args:
        bilevel: Digits, as for :func:`shares_of_ink`.
        matrices: For digits of several sides, the matrix of each, shape (batch, 20, width).
    """
    share = shares_of_ink(bilevel, matrices)
    most = share.amax((1, 2), keepdim=True).clamp(min=FLOAT_ERROR, max=1)
    return to_grey(share, most).to(torch.uint8)


def paste(cells: Tensor) -> Tensor:
    """Return images, shape (batch, 1, 28, 28), of cells, shape (batch, 20, 20), with their barycentre at the centre.

    In whole pixels: the barycentre lies in (14, 15] on each axis, counted from the image's edge.
    """
    top, left = (_offset(cells.float().sum(axis)) for axis in (2, 1))
    image, row, column = cells.new_zeros(len(cells), 1, SIDE, SIDE), *_places(top, left)
    image[torch.arange(len(cells), device=cells.device)[:, None, None], 0, row, column] = cells
    return image


def window(images: Tensor, top: Tensor, left: Tensor) -> Tensor:
    """Return the cells, shape (batch, 20, 20), of images, shape (batch, 1, 28, 28).

    Args:
        images: Images that hold the cells, shape (batch, 1, 28, 28).
        top: Row of each image at which its cells begin, shape (batch,).
        left: Column of each image at which its cells begin, shape (batch,).
    """
    row, column = _places(top, left)
    return images[torch.arange(len(images), device=images.device)[:, None, None], 0, row, column]


def phases(m: int) -> Tensor:
    """Return where in a source pixel each cell of an axis begins, in units of gcd(m, 20) / 20, shape (20,).

    Cells of the same phases on both axes can take the same levels.
    """
    unit = math.gcd(m, GRID)
    return torch.arange(GRID) * m % GRID // unit


def inks(m: int) -> list[float]:
    """Return what can be the share of ink of the whitest cell: 1, rho, rho^2."""
    rho = 1 - 0.2 / m
    return [rho**power for power in range(N_INKS)]


def possible_levels(m: int, row: int, column: int, ink: float = 1.0) -> set[int]:
    """Return the levels above 0 that a cell can take; both of them where single precision may round either way."""
    matrix = resampling_matrix(m, torch.float64)
    products = torch.outer(*(line[line > 0] for line in matrix[[row, column]])).flatten()
    values, counts = (products * 1e9).round().unique(return_counts=True)
    shares = torch.zeros(1, dtype=torch.float64)
    for value, count in zip(values / 1e9, counts.tolist(), strict=True):
        shares = ((shares[:, None] + value * torch.arange(count + 1)) * 1e8).round().unique() / 1e8
    shares = shares[shares > FLOAT_ERROR]
    either = torch.cat([to_grey(shares * (1 + error), ink) for error in (-FLOAT_ERROR, FLOAT_ERROR)])
    return set(either.int().tolist())


def _places(top: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
    cells = torch.arange(GRID, device=top.device)
    return (top[:, None] + cells)[:, :, None], (left[:, None] + cells)[:, None, :]


def _offset(weight: Tensor) -> Tensor:
    """Return where the first of 20 cells is pasted, of the ink in each row or column, shape (batch, 20)."""
    barycentre = (weight * (torch.arange(GRID, device=weight.device) + 0.5)).sum(1) / weight.sum(1).clamp(min=1)
    return (CENTRE - barycentre).long().clamp(0, SIDE - GRID)
