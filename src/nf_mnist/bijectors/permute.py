"""Fixed permutations of the first axis of an event: the dimensions of a vector or the channels of an image."""

import torch
from torch import Tensor

from nf_mnist.bijectors.base import Bijector
from nf_mnist.bijectors.pixel_grid import PixelGrid


class Permutation(Bijector):
    """A fixed permutation of dimensions or channels; its log-determinant is zero.

    Args:
        order: Element i of the result is element ``order[i]`` of the input. The order is stored with the weights.
    """

    order: Tensor

    def __init__(self, order: Tensor) -> None:
        super().__init__()
        self.register_buffer("order", order)

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x[:, self.order], x.new_zeros(len(x))

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return z[:, self.order.argsort()], z.new_zeros(len(z))

    def teacher_force(self, grid: PixelGrid) -> PixelGrid:
        return grid.select(self.order.tolist())


def random_order(dims: int, seed: int) -> Tensor:
    """Return a random permutation of 0 .. dims - 1 that depends only on the seed."""
    return torch.randperm(dims, generator=torch.Generator().manual_seed(seed))
