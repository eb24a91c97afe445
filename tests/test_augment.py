"""Augmented training images: what is moved, how often, and that nothing else changes."""

import lightning as L
import pytest
import torch
from torch import Tensor

from _helpers import fit, tiny_overrides, write_images
from nf_mnist.data import random_shift


def moved(image: Tensor, down: int, right: int) -> Tensor:
    """Move an image, shape (height, width), by whole pixels, black where it was not."""
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
    # Half of the images stay, and so does a ninth of the others.
    expected = len(levels) * torch.tensor([1 / 18] * 4 + [10 / 18] + [1 / 18] * 4)
    assert ((counts - expected).square() / expected).sum() < 26.1  # chi-squared, 8 degrees of freedom: p = 0.001


def test_rows_and_columns_move_by_as_much_as_is_permitted(levels):
    shifted = random_shift(levels[:2000], 3)
    is_black = shifted[:, 0] == 0
    rows, columns = is_black.all(2).sum(1), is_black.all(1).sum(1)
    assert rows.max() == columns.max() == 3


def test_without_a_shift_nothing_is_drawn(levels):
    before = torch.get_rng_state()
    assert random_shift(levels, 0) is levels
    assert torch.equal(before, torch.get_rng_state())


def test_training_images_alone_are_shifted(tmp_path):
    overrides = ["data.max_shift=2", "trainer.max_steps=4", "trainer.val_check_interval=2"]
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
    """Return which images are among those known, shape (n,)."""
    return (images[:, None] == known[None]).flatten(2).all(2).any(1)
