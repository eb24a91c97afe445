"""Digits drawn anew: the bilevel digit behind a grey one is estimated, transformed, and resampled as MNIST's were.

The result has grey levels of MNIST's own, which no interpolation of grey images gives. How images are resampled says
:mod:`nf_mnist.data.resampling`; what side and place of the cells an image has is known from elsewhere.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from nf_mnist.data.augment import affine
from nf_mnist.data.resampling import SIDES, paste, resample, shares_of_ink

WIDTH = SIDES[-1] + 2  # side of the arrays that bilevel digits lie in; a transformed one must not touch the edge
EDGE = 0.5  # of a field of ink: there is ink where it is higher
N_STEPS, STEP = 6, 0.3


def ink_field(shares: Tensor, sides: Tensor, matrices: Tensor) -> Tensor:
    """Estimate bilevel digits: return fields, above 1/2 where there is ink, that are resampled to nearly these shares.

    The cells are enlarged by linear interpolation. What the bilevel digit, once it is resampled, has too little or too
    much of is then added to the source pixels of each cell, several times (iterated back-projection, Irani & Peleg
    1991, "Improving resolution by image registration").

    Args:
        shares: Share of ink in each cell, nearly the level over 255, shape (batch, 20, 20).
        sides: Side m of each bilevel digit, shape (batch,).
        matrices: The resampling matrix of each side, shape (batch, 20, WIDTH).

    Returns:
        Fields, shape (batch, WIDTH, WIDTH); a digit lies in the first m rows and columns, and all else is 0.
    """
    zoom = WIDTH / sides.float()
    maps = zoom[:, None, None] * torch.eye(2, 3, device=shares.device)
    maps[:, :, 2] = zoom[:, None] - 1  # source and cells begin at the same corner
    grid = F.affine_grid(maps, [len(shares), 1, WIDTH, WIDTH], align_corners=False)
    field = F.grid_sample(shares[:, None], grid, padding_mode="border", align_corners=False)[:, 0]
    is_line = torch.arange(WIDTH, device=shares.device) < sides[:, None]
    is_source = is_line[:, :, None] & is_line[:, None, :]
    step = STEP * (sides / shares.shape[-1]).square()[:, None, None]
    for _ in range(N_STEPS):
        lack = shares - shares_of_ink((field > EDGE) & is_source, matrices)
        field = field + step * (matrices.mT @ lack @ matrices)
    return field * is_source


def transform(field: Tensor, sides: Tensor, maps: Tensor, edge: Tensor) -> Tensor:
    """Return transformed bilevel digits, dtype bool and shape of the fields.

    Args:
        field: Fields of ink, as :func:`ink_field` returns them.
        sides: Side m of each bilevel digit, shape (batch,).
        maps: Linear map of each digit about its middle, from places (column, row) in the result to those in the field,
            shape (batch, 2, 2).
        edge: How high the field is at the edge of the ink, shape (batch,); 1/2 keeps the width of strokes.
    """
    middle = (sides.float() / WIDTH - 1)[:, None, None].expand(-1, 2, 1)
    moved = middle + 2 * ((WIDTH - sides) // 2 / WIDTH)[:, None, None]  # by whole pixels, to the middle of the array
    affine_maps = torch.cat([maps, middle - maps @ moved], 2)
    return affine(field[:, None], affine_maps, "bilinear")[:, 0] > edge[:, None, None]


def draw(bilevel: Tensor, all_matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Cut bilevel digits to their ink, and resample and paste them.

    Args:
        bilevel: Digits, shape (batch, WIDTH, WIDTH), anywhere in the array.
        all_matrices: The resampling matrices of all sides, shape (sides, 20, WIDTH).

    Returns:
        Images, shape (batch, 1, 28, 28) and dtype uint8; and whether each is of a side that MNIST's digits have, shape
        (batch,). Where it is not, the image is to be ignored.
    """
    (top, height), (left, width) = (_extent(bilevel.any(axis)) for axis in (2, 1))
    sides = torch.maximum(height, width)
    is_inside = ~(bilevel[:, [0, -1]].any((1, 2)) | bilevel[:, :, [0, -1]].any((1, 2)))
    is_possible = is_inside & (sides >= SIDES[0]) & (sides <= SIDES[-1])
    row, is_row = _lines(top, height, sides)
    column, is_column = _lines(left, width, sides)
    image = torch.arange(len(bilevel), device=bilevel.device)[:, None, None]
    cut = bilevel[image, row[:, :, None], column[:, None, :]] & is_row[:, :, None] & is_column[:, None, :]
    matrices = all_matrices[(sides - SIDES[0]).clamp(0, len(SIDES) - 1)]
    return paste(resample(cut, matrices)), is_possible


def _extent(inked: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first line with ink and the number of lines from there to the last, shape (batch,) each."""
    first, from_end = inked.int().argmax(1), inked.flip(1).int().argmax(1)
    return first, torch.where(inked.any(1), inked.shape[1] - from_end - first, 0)


def _lines(begin: Tensor, length: Tensor, sides: Tensor) -> tuple[Tensor, Tensor]:
    """Return the lines of a square around ink, and whether each is one of its lines, shape (batch, WIDTH) each.

    The ink has as many lines before it in the square as after it, or one fewer. The first ``sides`` lines are those of
    the square.
    """
    lines = torch.arange(WIDTH, device=begin.device)
    places = lines + (begin - (sides - length) // 2)[:, None]
    is_line = (lines < sides[:, None]) & (places >= 0) & (places < WIDTH)
    return places.clamp(0, WIDTH - 1), is_line
