"""Whether two sets of images are drawn alike."""

import torch
from torch import Tensor

LARGEST_SHARE = 0.6  # of sets drawn nearly alike; MNIST's test images, which others wrote, reach 0.54 of its training
STANDARD_ERRORS = 5.0  # of the share, beyond one half, that chance does not explain
N_IMAGES = 1000  # of each set


def share_near_own(levels: Tensor, others: Tensor) -> float:
    """Return the share of images whose nearest neighbour is of their own set, among as many images of each set.

    It is one half if both sets are drawn alike, and near 1 if images are of kinds that the others lack (Schilling 1986,
    "Multivariate two-sample tests based on nearest neighbors"). A neighbour as near in both sets counts as one half.

    Args:
        levels: Grey levels, shape (n, *event).
        others: Grey levels of the other set, shape (m, *event).
    """
    n = min(len(levels), len(others) + 1)
    own, other = (part.flatten(1).double() for part in (levels[:n], others[: n - 1]))
    to_own = torch.cdist(own, own).fill_diagonal_(torch.inf).amin(1)
    to_other = torch.cdist(own, other).amin(1)
    return ((to_own < to_other).double() + 0.5 * (to_own == to_other)).mean().item()


def are_of_another_kind(levels: Tensor, others: Tensor) -> bool:
    """Return whether images lie near their own set, more than chance explains; see :func:`share_near_own`.

    The first 1,000 of each set are compared, so their order must be random.
    """
    n = min(len(levels), len(others), N_IMAGES)
    return n > 1 and share_near_own(levels[:n], others[:n]) > max(LARGEST_SHARE, 0.5 + STANDARD_ERRORS * 0.5 / n**0.5)
