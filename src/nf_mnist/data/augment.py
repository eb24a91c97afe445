"""Augmentation of training images."""

import torch
from torch import Tensor
from torch.nn import functional as F


def random_shift(levels: Tensor, max_shift: int) -> Tensor:
    """Return each image as it is or, with probability 1/2, moved by whole pixels; what enters at an edge is black.

    A density of this mixture gives an image at least half of the density that its own would: learning shifted images
    as well costs one bit per image at most.

    Args:
        levels: Shape (batch, 1, height, width).
        max_shift: Rows and columns are drawn from -max_shift .. max_shift, from the global random state of the levels'
            device; 0 draws nothing.
    """
    if not max_shift:
        return levels
    batch, _, height, width = levels.shape
    device = levels.device
    shift = torch.randint(-max_shift, max_shift + 1, (batch, 2, 1), device=device)
    shift *= torch.rand(batch, 1, 1, device=device) < 0.5
    rows = max_shift + torch.arange(height, device=device) + shift[:, 0]
    columns = max_shift + torch.arange(width, device=device) + shift[:, 1]
    padded = F.pad(levels[:, 0], (max_shift,) * 4)
    return padded[torch.arange(batch, device=device)[:, None, None], rows[:, :, None], columns[:, None]][:, None]


def random_distortion(levels: Tensor, amount: float) -> Tensor:
    """Return each image as it is or, with probability 1/2, turned, stretched and sheared about its centre of mass.

    The centre of mass stays where it is: MNIST's digits are centred by it (LeCun et al. 1998, section III.A), so that a
    part of an image tells where the rest is, and a shift would undo that. Grey levels are interpolated, so distorted
    images alone would teach others than the data has.

    Args:
        levels: Shape (batch, 1, height, width).
        amount: The elements of the 2x2 matrix move from the identity by a uniform draw in [-amount, amount], from the
            global random state of the levels' device; 0 draws nothing.
    """
    if not amount:
        return levels
    images = levels.float()
    matrices = random_maps(images, 2, amount)
    centres = _centres_of_mass(images)
    offsets = centres - (matrices @ centres[:, :, None])[:, :, 0]
    distorted = affine(images, torch.cat([matrices, offsets[:, :, None]], 2), "bicubic")
    is_distorted = torch.rand(len(levels), 1, 1, 1, device=levels.device) < 0.5
    return torch.where(is_distorted, distorted.round().clamp(0, 255).to(levels.dtype), levels)


def random_maps(images: Tensor, n_columns: int, amount: float) -> Tensor:
    """Draw a linear (2 columns) or affine (3) map for each image, shape (batch, 2, n_columns).

    Its elements move from the identity by a uniform draw in [-amount, amount], from the global random state.
    """
    draws = torch.rand(len(images), 2, n_columns, device=images.device)
    return torch.eye(2, n_columns, device=images.device) + amount * (2 * draws - 1)


def affine(images: Tensor, maps: Tensor, mode: str) -> Tensor:
    """Move the pixels of each image, shape (batch, 1, height, width), by its own affine map, shape (batch, 2, 3).

    Coordinates are (column, row) from -1 to 1; what enters at an edge is black. ``mode`` is that of
    :func:`torch.nn.functional.grid_sample`.
    """
    with torch.autocast(images.device.type, enabled=False):
        grid = F.affine_grid(maps, list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, mode=mode, align_corners=False)


def _centres_of_mass(images: Tensor) -> Tensor:
    """Return (column, row) of each image's centre of mass, from -1 to 1, shape (batch, 2); that of black is (0, 0)."""
    height, width = images.shape[2:]
    columns, rows = ((torch.arange(side, device=images.device) + 0.5) * 2 / side - 1 for side in (width, height))
    moments = torch.stack([(images * columns).sum((1, 2, 3)), (images * rows[:, None]).sum((1, 2, 3))], 1)
    return moments / images.sum((1, 2, 3)).clamp(min=1)[:, None]
