"""Positions in the original image of the pixels of a squeezed one."""

from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

from torch import Tensor


class PixelGrid(NamedTuple):
    """The pixels of each channel of a squeezed image, as a regular grid of pixels of the original image.

    Attributes:
        stride: Distance, in original pixels, between neighbouring pixels of a channel; the same for rows and columns.
        corners: Original (row, column) of the first pixel of each channel.
    """

    stride: int
    corners: tuple[tuple[int, int], ...]

    @classmethod
    def whole(cls) -> "PixelGrid":
        """Return the grid of an unsqueezed image with one channel."""
        return cls(1, ((0, 0),))

    def squeezed(self) -> "PixelGrid":
        """Return the grid after a :class:`~nf_mnist.bijectors.Squeeze`: four times the channels, twice the stride."""
        corners = (
            (row + self.stride * down, column + self.stride * right)
            for row, column in self.corners
            for down, right in product(range(2), repeat=2)
        )
        return PixelGrid(2 * self.stride, tuple(corners))

    def select(self, channels: Sequence[int]) -> "PixelGrid":
        """Return the grid of some channels, in the given order."""
        return self._replace(corners=tuple(self.corners[channel] for channel in channels))

    def places(self, channel: int, row: Tensor, column: Tensor) -> tuple[Tensor, Tensor]:
        """Return rows and columns in the original image of pixels of a channel, given theirs in the channel."""
        first_row, first_column = self.corners[channel]
        return first_row + self.stride * row, first_column + self.stride * column

    def offset(self, channel: int) -> int:
        """Return the index of a channel's pixel within its block of ``stride`` x ``stride`` pixels, row by row."""
        row, column = self.corners[channel]
        return row * self.stride + column
