"""Augmentation moves the training images by the stated amounts in half of the cases, and changes nothing else."""

import lightning as L
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from nf_mnist.data import affine, random_distortion, random_shift
from tests.support.helpers import fit, tiny_overrides, write_images


def moved(image: Tensor, down: int, right: int) -> Tensor:
    """Move an image, shape (height, width), by whole pixels; pixels that enter are black."""
    height, width = image.shape
    found = torch.zeros_like(image)
    for row in range(height):
        for column in range(width):
            if 0 <= row - down < height and 0 <= column - right < width:
                found[row, column] = image[row - down, column - right]
    return found


@pytest.fixture
def levels() -> Tensor:
    """Return 9,000 copies of an image without symmetry, bright up to its edges."""
    torch.manual_seed(0)
    return torch.randint(1, 256, (1, 1, 5, 7)).to(torch.uint8).expand(9000, 1, 5, 7)


def test_every_shift_occurs_as_often_as_it_should_and_nothing_else(levels):
    shifted = random_shift(levels, 1)
    assert shifted.shape == levels.shape
    assert shifted.dtype == torch.uint8
    counts = torch.tensor(
        [
            (shifted[:, 0] == moved(levels[0, 0], down, right)).flatten(1).all(1).sum()
            for down in (-1, 0, 1)
            for right in (-1, 0, 1)
        ]
    )
    assert counts.sum() == len(levels)
    # Half of the images are unchanged, and so is a ninth of the others, whose shift is 0.
    expected = len(levels) * torch.tensor([1 / 18] * 4 + [10 / 18] + [1 / 18] * 4)
    assert ((counts - expected).square() / expected).sum() < 26.1  # chi-squared, 8 degrees of freedom: p = 0.001


def test_rows_and_columns_move_by_as_much_as_is_permitted(levels):
    shifted = random_shift(levels[:2000], 3)
    is_black = shifted[:, 0] == 0
    rows, columns = is_black.all(2).sum(1), is_black.all(1).sum(1)
    assert rows.max() == columns.max() == 3


@pytest.mark.parametrize("augment", [random_shift, random_distortion])
def test_without_an_amount_nothing_is_drawn(augment, levels):
    before = torch.get_rng_state()
    assert augment(levels, 0) is levels
    assert torch.equal(before, torch.get_rng_state())


def ellipse(column: float, row: float, width: float, height: float) -> Tensor:
    """Return levels of a bright spot on black, shape (1, 1, 28, 28)."""
    positions = torch.arange(28.0)
    across, down = ((positions - column) / width).square(), ((positions - row) / height).square()
    return (255 * torch.exp(-(across[None] + down[:, None]) / 2)).round().to(torch.uint8)[None, None]


def spread(levels: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and covariance of the positions of brightness, in pixels, shapes (n, 2) and (n, 2, 2)."""
    weights = levels.double().flatten(1)
    weights = weights / weights.sum(1, keepdim=True)
    positions = torch.cartesian_prod(torch.arange(28.0), torch.arange(28.0)).double().flip(1)
    mean = weights @ positions
    offsets = positions - mean[:, None]
    return mean, torch.einsum("np,npi,npj->nij", weights, offsets, offsets)


def test_half_of_the_images_are_distorted_and_their_centres_of_mass_stay():
    levels = ellipse(11.5, 16.0, 2.0, 3.0).expand(4000, -1, -1, -1)
    distorted = random_distortion(levels, 0.2)
    assert (distorted.dtype, distorted.shape) == (torch.uint8, levels.shape)
    is_same = (distorted == levels).flatten(1).all(1)
    assert abs(is_same.double().mean().item() - 0.5) < 4 * (0.25 / 4000) ** 0.5
    assert len(distorted[~is_same].unique(dim=0)) == (~is_same).sum(), "each in its own way"
    mean, _ = spread(distorted)
    assert (mean - torch.tensor([11.5, 16.0])).abs().max() < 0.05, "in pixels; levels are rounded"


def test_distortions_are_as_large_as_is_permitted():
    spot = ellipse(14.0, 13.0, 2.5, 2.5)
    _, (before,) = spread(spot)
    _, after = spread(random_distortion(spot.expand(2000, -1, -1, -1), 0.2))
    # The map A turns a covariance C into A^-1 C A^-T, which for a round spot gives the singular values of A. If all
    # elements of A are within 0.2 of the identity, these lie within 0.4 of 1.
    stretches = (before.trace() / 2 / torch.linalg.eigvalsh(after)).sqrt()
    assert 0.6 < stretches.min() < 0.75
    assert 1.25 < stretches.max() < 1.42


def test_a_quarter_turn_moves_pixels_as_turning_the_array_does():
    images = torch.rand(3, 1, 8, 8)
    quarter = torch.tensor([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]])
    assert_close(affine(images, quarter.expand(3, 2, 3), "bilinear"), images.rot90(-1, (2, 3)))


@pytest.mark.parametrize("setting", ["data.max_shift=2", "data.distortion=0.3"])
def test_training_images_alone_are_augmented(setting, tmp_path):
    overrides = [setting, "trainer.max_steps=4", "trainer.val_check_interval=2"]
    overrides += tiny_overrides(write_images(tmp_path / "images.npz"), tmp_path)
    seen: dict[bool, list[Tensor]] = {True: [], False: []}

    class Watch(L.Callback):
        def on_fit_start(self, trainer, pl_module):
            pl_module.dequantizer.register_forward_pre_hook(
                lambda module, inputs: seen[module.training].append(inputs[0].clone())
            )

    trained = fit([*overrides, "trainer.check_val_every_n_epoch=null"], [Watch()])
    assert not is_in(torch.cat(seen[True]), trained.data.train.levels).all()
    assert is_in(torch.cat(seen[False]), trained.data.validation.levels).all()


def is_in(images: Tensor, known: Tensor) -> Tensor:
    """Return which images are among the known ones, shape (n,)."""
    return (images[:, None] == known[None]).flatten(2).all(2).any(1)
