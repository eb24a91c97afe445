"""Digits drawn anew have MNIST's grey levels and its place, and an unchanged source gives nearly the same image."""

import pytest
import torch
from torch import Tensor

from nf_mnist.bijectors.level_prior import WHOLE_IMAGE
from nf_mnist.data import mnist
from nf_mnist.data.rerender import EDGE, WIDTH, draw, transform
from nf_mnist.data.resampling import N_INKS, SIDES, inks, paste, possible_levels, resample, resampling_matrices, window
from nf_mnist.errors import DataError, ShapeError
from nf_mnist.training.rerendering import Rerendering


@pytest.fixture(scope="module")
def rerendering() -> Rerendering:
    return Rerendering(0.15, (1, 28, 28))


@pytest.fixture(scope="module")
def levels() -> Tensor:
    return mnist().train.levels[:120]


def unchanged(n: int) -> tuple[Tensor, Tensor]:
    """Return the maps and the edges of n images whose sources stay as they are."""
    return torch.eye(2).expand(n, 2, 2), torch.full((n,), EDGE)


def ring(m: int) -> Tensor:
    """Return a bilevel digit of side m in its array, shape (WIDTH, WIDTH): a ring that touches all its edges."""
    place = torch.arange(m) + 0.5 - m / 2
    radius = (place[:, None].square() + place.square()).sqrt()
    digit = torch.zeros(WIDTH, WIDTH, dtype=torch.bool)
    digit[:m, :m] = (radius <= m / 2) & (radius > m / 4)
    return digit


def test_an_unchanged_source_gives_nearly_the_same_image(rerendering, levels):
    found = rerendering.drawn(levels, *unchanged(len(levels)))
    is_equal, inked = found == levels, levels > 0
    assert is_equal.double().mean() > 0.92
    assert is_equal[inked].double().mean() > 0.7
    assert (found.double() - levels.double())[inked].abs().mean() < 12


def test_images_drawn_anew_fit_the_level_tables_and_lie_where_mnist_does(rerendering, levels):
    torch.manual_seed(0)
    found = rerendering(torch.cat([levels, levels]))[: len(levels)]
    assert (found != levels).flatten(1).any(1).double().mean() > 0.95
    state = rerendering.prior.believe(found[:, 0].float(), WHOLE_IMAGE, n_states=1).state[:, 0]
    assert (state < N_INKS * len(SIDES)).double().mean() > 0.98
    places = torch.arange(28.0) + 0.5
    for axis in (2, 3):
        weight = found.double().sum((1, 5 - axis))
        barycentre = (weight * places).sum(1) / weight.sum(1)
        assert ((barycentre > 14) & (barycentre <= 15)).all()


@pytest.mark.parametrize("m", [29, 40, 58])
def test_a_drawn_digit_has_the_levels_of_its_side(m):
    images, is_possible = draw(ring(m).roll((5, 9), (0, 1))[None], resampling_matrices(WIDTH))
    assert is_possible.all()
    assert torch.equal(images, paste(resample(ring(m)[None, :m, :m])))
    offset = (images[0, 0] > 0).any(1).int().argmax()
    cells = window(images, offset[None], offset[None])[0]
    possible = [set().union(*(possible_levels(m, row, row, ink) for ink in inks(m))) for row in range(20)]
    assert all(level.item() in {0, *possible[row]} for row, level in enumerate(cells.diagonal()))


def test_digits_of_sides_that_mnist_lacks_are_not_drawn():
    small, whole = ring(12), ring(40)
    at_the_edge, empty = whole.roll((9, WIDTH - 40), (0, 1)), torch.zeros_like(whole)
    _, is_possible = draw(
        torch.stack([small, whole, whole.roll((9, 9), (0, 1)), at_the_edge, empty]), resampling_matrices(WIDTH)
    )
    assert is_possible.tolist() == [False, False, True, False, False]


def test_a_quarter_turn_of_the_source_is_that_of_the_array():
    for m in (40, 41):
        field = ring(m).float() * torch.linspace(0.2, 1, WIDTH)
        quarter = torch.tensor([[[0.0, 1.0], [-1.0, 0.0]]])
        found = transform(field[None], torch.tensor([m]), quarter, torch.tensor([0.4]))[0]
        begin = (WIDTH - m) // 2
        middle = found[begin:, begin:][:m, :m]
        assert torch.equal(middle, (field[:m, :m] > 0.4).rot90(-1))
        assert middle.sum() == found.sum()


def test_a_lower_edge_makes_wider_strokes(rerendering, levels):
    maps, edge = unchanged(len(levels))
    ink = [rerendering.drawn(levels, maps, edge + change).double().mean() for change in (-0.2, 0, 0.2)]
    assert ink[0] > 1.02 * ink[1]
    assert ink[1] > 1.02 * ink[2]


def test_only_the_first_half_of_a_batch_is_drawn_anew_and_by_the_random_state_alone(rerendering, levels):
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(rerendering(levels[:9]))
    assert (drawn[0].dtype, drawn[0].shape) == (torch.uint8, (9, 1, 28, 28))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert torch.equal(drawn[0][4:], levels[4:9])
    assert (drawn[0][:4] != levels[:4]).flatten(1).any(1).all()


def test_nothing_is_rounded_to_half_precision_in_a_training_step(rerendering, levels):
    given = levels[:20], *unchanged(20)
    with torch.autocast("cpu", torch.bfloat16):
        found = rerendering.drawn(*given)
    assert torch.equal(found, rerendering.drawn(*given))


def test_what_fits_no_table_stays_as_it_is(rerendering, levels):
    black, inverted = torch.zeros_like(levels[:1]), 255 - levels[:3]
    images = torch.cat([black, inverted])
    assert torch.equal(rerendering.drawn(images, *unchanged(4)), images)


def test_images_that_were_not_drawn_so_are_refused_in_one_line(rerendering, levels):
    rerendering.check_fit(levels)
    with pytest.raises(DataError, match=r"^data.rerender .* \d+% of 120 training images .*; use data.rerender=0$"):
        rerendering.check_fit(255 - levels)
    with pytest.raises(ShapeError, match=r"^data.rerender .* got 14x14; use data.rerender=0$"):
        Rerendering(0.1, (1, 14, 14))
