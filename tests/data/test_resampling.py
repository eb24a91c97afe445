"""MNIST's grey levels are those of a bilevel digit, resampled."""

import pytest
import torch

from nf_mnist.data import mnist
from nf_mnist.data.resampling import (
    SIDES,
    inks,
    paste,
    phases,
    possible_levels,
    resample,
    resampling_matrix,
    window,
)

# Training images whose m and place of the 20x20 cells are known: index, m, top, left, ink.
KNOWN = [
    (113, 23, 4, 4, 1), (3, 32, 5, 5, 0), (1, 36, 4, 5, 0), (10, 37, 4, 3, 2), (47, 40, 5, 6, 0), (0, 43, 5, 4, 1),
    (96, 45, 7, 4, 1), (29, 49, 6, 1, 2), (43, 50, 6, 5, 0), (16, 59, 4, 6, 1), (35, 60, 4, 5, 0), (46, 69, 5, 4, 2),
]  # fmt: skip


def blobs(m: int, n: int = 20) -> torch.Tensor:
    """Return n bilevel digits of m x m: a few thick strokes."""
    generator = torch.Generator().manual_seed(m)
    coarse = torch.rand(n, 1, 6, 6, generator=generator)
    return torch.nn.functional.interpolate(coarse, (m, m), mode="bicubic")[:, 0] > 0.5


def test_forty_and_sixty_source_pixels_make_four_and_nine_levels():
    for row, column in ((0, 0), (3, 11), (19, 19)):
        assert possible_levels(40, row, column) >= {64, 128, 191, 255}
        assert len(possible_levels(60, row, column) & {29, 57, 85, 114, 141, 170, 198, 226, 255}) == 9
    assert set(resample(blobs(40)).unique().tolist()) == {0, 64, 128, 191, 255}
    assert len(set(resample(blobs(60)).unique().tolist()) - {0}) == 9


def test_a_source_pixel_gives_all_its_ink_unless_it_straddles_two_cells():
    for m in SIDES:
        ink = resampling_matrix(m, torch.float64).sum(0) * m / 20
        straddles = (torch.arange(m) * 20 % m > m - 20 + 0.2) & (torch.arange(m) * 20 % m != 0)
        torch.testing.assert_close(ink[straddles], torch.full_like(ink[straddles], 0.99))
        torch.testing.assert_close(ink[~straddles], torch.ones_like(ink[~straddles]))


def test_full_ink_is_one_or_rho_or_its_square():
    for m in SIDES:
        full = resampling_matrix(m, torch.float64).sum(1)
        cells = torch.outer(full, full).flatten()
        distance = (cells[:, None] - torch.tensor(inks(m), dtype=torch.float64)).abs().amin(1)
        assert distance.max() < 1e-9
    whites = {int(255 * ink) for m in range(22, 83) for ink in inks(m)}
    assert {252, 253, 254, 255} <= whites


@pytest.mark.parametrize("m", [22, 29, 40, 45, 49, 60, 77])
def test_every_cell_takes_one_of_its_possible_levels(m):
    grey = resample(blobs(m))
    share = resampling_matrix(m) @ blobs(m).float() @ resampling_matrix(m).T
    for row, column in ((0, 0), (4, 9), (13, 7), (19, 2)):
        possible = set().union(*(possible_levels(m, row, column, most) for most in share.amax((1, 2)).tolist()))
        assert set(grey[:, row, column].tolist()) - {0} <= possible


def test_cells_of_equal_phases_have_equal_levels():
    for m, first, second in ((48, 3, 8), (50, 3, 5), (45, 1, 17)):
        assert phases(m)[first] == phases(m)[second]
        assert possible_levels(m, first, 7) == possible_levels(m, second, 7) == possible_levels(m, 7, first)
    assert len(phases(49).unique()) == 20
    assert possible_levels(49, 3, 7) != possible_levels(49, 4, 7)


def test_non_zero_pixels_of_training_images_are_possible():
    levels = mnist().train.levels
    for index, m, top, left, ink in KNOWN:
        cells = window(levels[[index]], torch.tensor([top]), torch.tensor([left]))[0]
        assert cells.sum() == levels[index].sum(), "no ink outside of the cells"
        wrong = [
            (row, column, level)
            for row, column in cells.nonzero().tolist()
            if (level := cells[row, column].item()) not in possible_levels(m, row, column, inks(m)[ink])
        ]
        assert not wrong


def barycentres(images: torch.Tensor) -> torch.Tensor:
    """Return (row, column) of each image's barycentre, in pixels from its edge, shape (batch, 2)."""
    centres = torch.arange(28).double() + 0.5
    sums = [images[:, 0].double().sum(axis) for axis in (2, 1)]
    return torch.stack([(weight * centres).sum(1) / weight.sum(1) for weight in sums], 1)


def test_the_barycentre_is_pasted_where_that_of_mnist_lies():
    for images, share in ((paste(resample(blobs(37))), 1.0), (mnist().train.levels[:5000], 0.999)):
        found = barycentres(images)
        assert ((found > 14) & (found <= 15)).double().mean() >= share


def test_what_was_pasted_is_found_in_its_window():
    cells = resample(blobs(31))
    images = paste(cells)
    top, left = ((images[:, 0] > 0).any(axis).long().argmax(1) for axis in (2, 1))
    first_row, first_column = ((cells > 0).any(axis).long().argmax(1) for axis in (2, 1))
    assert torch.equal(window(images, top - first_row, left - first_column), cells)
