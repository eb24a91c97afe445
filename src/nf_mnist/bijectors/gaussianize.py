"""Marginal Gaussianization: a map of each pixel to a standard normal, without any network."""

import torch
from torch import Tensor

from nf_mnist.bijectors.base import Bijector, Shape
from nf_mnist.bijectors.quantile_map import N_LEVELS, UNIFORM_SHARE, from_normal, level_and_fraction, to_normal


class MarginalGaussianization(Bijector):
    """The normal quantile of each pixel's distribution function, which is piecewise linear in x.

    81% of MNIST's pixels are exactly 0. Dithered, they fill a box of width 1/256; an affine flow with a Gaussian base
    fits that box with a Gaussian and loses bits on each such pixel. This map takes the box exactly. It is the first
    step of iterative Gaussianization (Laparra et al. 2011, section II), for discrete marginals. Before :meth:`fit`,
    the distribution of levels is uniform.

    Args:
        event_shape: (channels, height, width).
    """

    is_continuous = False
    probabilities: Tensor

    def __init__(self, event_shape: Shape) -> None:
        super().__init__()
        dims = torch.Size(event_shape).numel()
        self.register_buffer("probabilities", torch.full((dims, N_LEVELS), 1 / N_LEVELS))

    @torch.no_grad()
    def fit(self, levels: Tensor) -> None:
        """Count the levels of each pixel, smoothed by a small share of the uniform distribution.

        Args:
            levels: Training images, shape (n, *event_shape) and dtype uint8.
        """
        pixels = levels.flatten(1).T
        counts = torch.stack([torch.bincount(pixel, minlength=N_LEVELS) for pixel in pixels])
        shares = counts.double() / len(levels)
        self.probabilities.copy_((1 - UNIFORM_SHARE) * shares + UNIFORM_SHARE / N_LEVELS)

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        level, fraction = level_and_fraction(x.flatten(1))
        below, above = self._edge_tables(x)
        index = level.long()
        z, log_det = to_normal(
            fraction,
            _look_up(self.probabilities.to(x), index),
            _look_up(below, index),
            _look_up(above, index + 1),
        )
        return z.reshape(x.shape), log_det.sum(1)

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        below, above = self._edge_tables(z)
        probabilities = self.probabilities.to(z)
        x, log_det = from_normal(
            z.flatten(1),
            lambda edge: (_look_up(below, edge.long()), _look_up(above, edge.long())),
            lambda level: _look_up(probabilities, level.long()),
        )
        return x.reshape(z.shape), log_det.sum(1)

    def _edge_tables(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Return the probabilities below and above each edge, shape (dims, 257) each, summed in float64."""
        probabilities = self.probabilities.double()
        zero = probabilities.new_zeros(len(probabilities), 1)
        below = torch.cat([zero, probabilities.cumsum(1)], 1)
        above = torch.cat([probabilities.flip(1).cumsum(1).flip(1), zero], 1)
        return below.to(like), above.to(like)


def _look_up(table: Tensor, index: Tensor) -> Tensor:
    """Return ``table[d, index[b, d]]`` for a table of shape (dims, columns) and an index of shape (batch, dims)."""
    return table.gather(1, index.T).T
