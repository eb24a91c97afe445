"""Augmentation of training images by the way in which MNIST was drawn."""

import torch
from torch import Tensor

from nf_mnist.bijectors import Shape
from nf_mnist.bijectors.level_prior import WHOLE_IMAGE, LevelPrior, LevelTables
from nf_mnist.data import random_maps
from nf_mnist.data.level_tables import read_level_tables
from nf_mnist.data.rerender import EDGE, WIDTH, draw, ink_field, transform
from nf_mnist.data.resampling import N_INKS, SIDE, SIDES, resampling_matrices, window
from nf_mnist.errors import DataError, ShapeError


class Rerendering:
    """Draws the first half of a batch anew, each digit with a transformed bilevel source.

    The side m and the place of the cells of each image are the most likely ones by the level tables. Images that fit
    none of them, and those whose new side would be none of MNIST's, are returned as they are.

    Nothing is kept from batch to batch, so what a step draws is a function of its images and of the random state.

    Args:
        amount: Each element of the 2x2 matrix of a digit is that of the identity plus a uniform draw from [-amount,
            amount]; and the edge of its ink lies where the estimated field of ink is 1/2 plus such a draw, which makes
            strokes wider or narrower. All draws are from the global random state of the levels' device.
        event_shape: (1, height, width) of the images.

    Raises:
        ShapeError: If the images are not of MNIST's sides.
    """

    def __init__(self, amount: float, event_shape: Shape) -> None:
        if tuple(event_shape) != (1, SIDE, SIDE):
            raise ShapeError(
                f"data.rerender draws images as MNIST's were drawn, of {SIDE}x{SIDE}, got "
                f"{event_shape[1]}x{event_shape[2]}; use data.rerender=0"
            )
        self.amount = amount
        self.prior = LevelPrior(LevelTables(*read_level_tables()))
        self.matrices = resampling_matrices(WIDTH)

    def check_fit(self, levels: Tensor) -> None:
        """Check that the level tables explain images.

        Args:
            levels: Training images, shape (n, 1, 28, 28) and dtype uint8.

        Raises:
            DataError: If they explain too few.
        """
        if reason := self.prior.misfit(levels):
            raise DataError(f"data.rerender draws images as MNIST's were drawn, but {reason}; use data.rerender=0")

    @torch.no_grad()
    def __call__(self, levels: Tensor) -> Tensor:
        """Return a batch, of which the first half is drawn anew.

        Args:
            levels: Images, shape (batch, 1, 28, 28) and dtype uint8.
        """
        half = levels[: len(levels) // 2]
        maps = random_maps(half, 2, self.amount)
        edge = EDGE + self.amount * (2 * torch.rand(len(half), device=levels.device) - 1)
        return torch.cat([self.drawn(half, maps, edge), levels[len(half) :]])

    @torch.no_grad()
    def drawn(self, levels: Tensor, maps: Tensor, edge: Tensor) -> Tensor:
        """Return images drawn anew; those that cannot be are as they were.

        Args:
            levels: Images, shape (batch, 1, 28, 28) and dtype uint8.
            maps: The linear map of each, shape (batch, 2, 2), as for :func:`~nf_mnist.data.rerender.transform`.
            edge: How high the field is at the edge of the ink, shape (batch,).
        """
        self.prior, self.matrices = self.prior.to(levels.device), self.matrices.to(levels.device)
        with torch.autocast(levels.device.type, enabled=False):
            belief = self.prior.believe(levels[:, 0].float(), WHOLE_IMAGE, n_states=1)
            top, left, state = belief.top[:, 0], belief.left[:, 0], belief.state[:, 0]
            cells = window(levels, top, left)
            is_whole = cells.sum((1, 2)) == levels.sum((1, 2, 3))  # no ink lies outside of the cells
            is_known = is_whole & (state < N_INKS * len(SIDES))
            number = (state // N_INKS).clamp(max=len(SIDES) - 1)
            sides, matrices = SIDES[0] + number, self.matrices[number]
            bilevel = transform(ink_field(cells / 255, sides, matrices), sides, maps, edge)
            images, is_possible = draw(bilevel, self.matrices)
        return torch.where((is_known & is_possible)[:, None, None, None], images, levels)
