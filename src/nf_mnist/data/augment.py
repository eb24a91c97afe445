"""Augmentation of training images."""

import torch
from torch import Tensor
from torch.nn import functional as F


def random_shift(levels: Tensor, max_shift: int) -> Tensor:
    """Shift each image by whole pixels with probability 1/2; pixels that enter at an edge are black.

    Half of the images are unchanged, so a density of this mixture gives an image at least half of its own density:
    learning shifted images as well costs at most one bit per image.

    Args:
        levels: Images, shape (batch, 1, height, width).
        max_shift: Rows and columns are drawn from -max_shift .. max_shift, from the global random state of the levels'
            device. With 0, images are returned as they are and nothing is drawn.
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
    """Rotate, stretch and shear each image about its centre of mass with probability 1/2.

    The centre of mass stays in place. MNIST's digits are centred by it (LeCun et al. 1998, section III.A), so a part of
    an image tells where the rest is; a shift would destroy that information. Interpolation makes grey levels that the
    data does not have, so half of the images are unchanged.

    Args:
        levels: Images, shape (batch, 1, height, width).
        amount: Each element of the 2x2 matrix is that of the identity plus a uniform draw from [-amount, amount], from
            the global random state of the levels' device. With 0, images are returned as they are and nothing is drawn.
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
    """Draw a random linear or affine map for each image.

    Args:
        images: Images, for their number and device.
        n_columns: 2 for linear maps, 3 for affine ones.
        amount: Each element is that of the identity plus a uniform draw from [-amount, amount], from the global random
            state.

    Returns:
        Maps, shape (batch, 2, n_columns).
    """
    draws = torch.rand(len(images), 2, n_columns, device=images.device)
    return torch.eye(2, n_columns, device=images.device) + amount * (2 * draws - 1)


def affine(images: Tensor, maps: Tensor, mode: str) -> Tensor:
    """Move the pixels of each image by its own affine map; pixels that enter at an edge are black.

    Args:
        images: Images, shape (batch, 1, height, width) and of a float dtype.
        maps: Maps of coordinates (column, row) from -1 to 1, shape (batch, 2, 3).
        mode: Interpolation, as for :func:`torch.nn.functional.grid_sample`.
    """
    with torch.autocast(images.device.type, enabled=False):
        grid = F.affine_grid(maps, list(images.shape), align_corners=False)
        return F.grid_sample(images, grid, mode=mode, align_corners=False)


def _centres_of_mass(images: Tensor) -> Tensor:
    """Return (column, row) of the centres of mass, from -1 to 1, shape (batch, 2); (0, 0) for a black image."""
    height, width = images.shape[2:]
    columns, rows = ((torch.arange(side, device=images.device) + 0.5) * 2 / side - 1 for side in (width, height))
    moments = torch.stack([(images * columns).sum((1, 2, 3)), (images * rows[:, None]).sum((1, 2, 3))], 1)
    return moments / images.sum((1, 2, 3)).clamp(min=1)[:, None]
