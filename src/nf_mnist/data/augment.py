"""Augmentation of training images that leaves their grey levels as they are."""

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
