"""Positions of pixels in a hierarchy of halved images: the order of channels, nearest neighbours and groups."""

from itertools import product
from operator import itemgetter

import torch
from torch import Tensor

from nf_mnist.bijectors import NeighbourPixel
from nf_mnist.errors import ConfigError

CHANNEL_ORDER = (0, 3, 1, 2)  # pixels 00, 11, 01, 10 of each 2x2 block
BAYER = torch.tensor([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]])


def pixel_groups(height: int, width: int, n_groups: int) -> Tensor:
    """Return the group of each pixel, shape (height, width); each group is spread over the whole image.

    The groups follow the ordered-dither matrix of Bayer 1973.

    Args:
        height: Number of rows.
        width: Number of columns.
        n_groups: Number of groups.

    Raises:
        ConfigError: If there are fewer than 1 or more than 16 groups.
    """
    if not 1 <= n_groups <= 16:
        raise ConfigError(f"the coarsest image is divided into 1 to 16 groups of pixels, got n_groups={n_groups}")
    rows, columns = torch.arange(height) % 4, torch.arange(width) % 4
    return BAYER[rows][:, columns] * n_groups // 16


def nearest_neighbours(n_kept: int, n_neighbours: int) -> list[NeighbourPixel]:
    """Return the pixels of channels 0 .. n_kept - 1 of a squeezed image that are nearest to a pixel of channel n_kept.

    Distances are measured in the image before the squeeze, up to 2 pixels in each direction.

    Args:
        n_kept: Index of a channel in :data:`CHANNEL_ORDER`.
        n_neighbours: Largest number of pixels to return.
    """
    row, column = divmod(CHANNEL_ORDER[n_kept], 2)
    found = []
    for down, right in product(range(-2, 3), repeat=2):
        (rows, in_row), (columns, in_column) = divmod(row + down, 2), divmod(column + right, 2)
        channel = CHANNEL_ORDER.index(2 * in_row + in_column)
        if channel < n_kept:
            found.append((down**2 + right**2, NeighbourPixel(channel, rows, columns)))
    return [neighbour for _, neighbour in sorted(found, key=itemgetter(0))[:n_neighbours]]
