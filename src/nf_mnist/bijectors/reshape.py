"""Bijectors that only move elements: flatten, squeeze and factoring out channels."""

import torch
from torch import Tensor

from nf_mnist.bijectors.base import Bijector, Shape
from nf_mnist.bijectors.pixel_grid import PixelGrid
from nf_mnist.errors import ShapeError


class Flatten(Bijector):
    """Turn an event into a flat vector.

    Args:
        event_shape: Shape of the event.
    """

    def __init__(self, event_shape: Shape) -> None:
        super().__init__()
        self.event_shape = tuple(event_shape)

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x.flatten(1), x.new_zeros(len(x))

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return z.reshape(len(z), *self.event_shape), z.new_zeros(len(z))

    def teacher_force(self, grid: PixelGrid) -> PixelGrid:
        return grid


class Squeeze(Bijector):
    """Trade space for channels: (c, h, w) becomes (4c, h/2, w/2) (Dinh et al. 2017, section 3.6).

    The four pixels of each 2x2 block of channel c become channels 4c to 4c + 3, row by row.

    Args:
        event_shape: (channels, height, width).

    Attributes:
        event_shape_out: Shape of the result.

    Raises:
        ShapeError: If a side is odd.
    """

    def __init__(self, event_shape: Shape) -> None:
        super().__init__()
        channels, height, width = event_shape
        if height % 2 or width % 2:
            raise ShapeError(
                f"squeeze needs even sides, got {height}x{width}; use fewer scales (model.flow.n_scales, or shorter "
                "lists for model=uva_multiscale), images of other sides, or a model without squeezes such as uva_simple"
            )
        self.event_shape_out = (4 * channels, height // 2, width // 2)

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return torch.nn.functional.pixel_unshuffle(x, 2), x.new_zeros(len(x))

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return torch.nn.functional.pixel_shuffle(z, 2), z.new_zeros(len(z))

    def teacher_force(self, grid: PixelGrid) -> PixelGrid:
        return grid.squeezed()


class FactorOut(Bijector):
    """Send some channels directly to the latent and the others through the rest of the flow.

    This is the split of multi-scale flows (Dinh et al. 2017, equations 13 to 16), written as one bijector: nothing is
    dropped, and the flat latent holds every scale.

    Args:
        event_shape: (channels, height, width).
        n_kept: Number of channels that go on; these are the first ones.
        rest: Bijector from the kept channels, (n_kept, height, width), to a flat latent.

    Raises:
        ShapeError: If all channels are kept, or none.
    """

    def __init__(self, event_shape: Shape, n_kept: int, rest: Bijector) -> None:
        super().__init__()
        channels, height, width = event_shape
        if not 0 < n_kept < channels:
            raise ShapeError(f"factoring out needs 0 < n_kept < channels, got n_kept={n_kept} of {channels}")
        self.n_kept = n_kept
        self.factored_shape = (channels - n_kept, height, width)
        self.rest = rest

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        kept, factored = x[:, : self.n_kept], x[:, self.n_kept :]
        z, log_det = self.rest(kept, context)
        return torch.cat([factored.flatten(1), z], dim=1), log_det

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        n_factored = torch.Size(self.factored_shape).numel()
        kept, log_det = self.rest.inverse_and_log_det(z[:, n_factored:], context)
        factored = z[:, :n_factored].reshape(len(z), *self.factored_shape)
        return torch.cat([kept, factored], dim=1), log_det

    def uncounted_log_det(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.rest.uncounted_log_det(x[:, : self.n_kept], context)

    def teacher_force(self, grid: PixelGrid) -> PixelGrid:
        self.rest.teacher_force(grid.select(range(self.n_kept)))
        return grid
