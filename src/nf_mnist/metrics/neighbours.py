"""Metrics by nearest neighbours: precision, recall, and the distance to training images."""

from typing import NamedTuple

import torch
from torch import Tensor

from nf_mnist.errors import ShapeError

N_NEIGHBOURS = 3  # as in Kynkaanniemi et al. 2019
CHUNK = 256  # rows of the matrix of distances that are computed at a time


class Overlap(NamedTuple):
    """Shares of samples that lie among data (precision), and of data that lie among samples (recall)."""

    precision: float
    recall: float


def precision_recall(data: Tensor, samples: Tensor, k: int = N_NEIGHBOURS) -> Overlap:
    """Measure the overlap of two sets of features (Kynkaanniemi et al. 2019, section 2).

    A point lies among a set if it is no further from some member than that member's k-th neighbour in the set. Even
    for two sets of the same distribution both shares are below 1. They depend on the sizes of the sets.

    Args:
        data: Features of data, shape (n, features).
        samples: Features of samples, shape (m, features).
        k: Index of the neighbour whose distance is the radius around a member; the nearest has 1.

    Raises:
        ShapeError: If a set is too small to have a k-th neighbour.
    """
    if min(len(data), len(samples)) <= k:
        raise ShapeError(f"neighbour {k} needs sets of more than {k} members, got {len(data)} and {len(samples)}")
    return Overlap(_share_among(samples, data, k), _share_among(data, samples, k))


@torch.no_grad()
def nearest(x: Tensor, others: Tensor) -> Tensor:
    """Return the index of the row of others that is nearest to each row of x, shape (n,).

    Args:
        x: Points, shape (n, dims).
        others: Points to search, shape (m, dims).
    """
    squares = others.square().sum(1)
    return torch.cat([torch.addmm(squares, chunk, others.T, alpha=-2).argmin(1) for chunk in x.split(CHUNK)])


def nearest_distance(x: Tensor, others: Tensor) -> Tensor:
    """Return the Euclidean distance of each row of x to the nearest row of others, shape (n,).

    A product of matrices finds the nearest row. Its rounding errors are large compared with small distances, so the
    distance to that row is computed again from the difference.

    Args:
        x: Points, shape (n, dims).
        others: Points to search, shape (m, dims).
    """
    return (x - others[nearest(x, others)]).norm(dim=1)


def _share_among(points: Tensor, members: Tensor, k: int) -> float:
    # The nearest neighbour of a member in its own set is itself, so its k-th neighbour has number k + 1.
    reach = [torch.cdist(chunk, members).kthvalue(k + 1).values for chunk in members.split(CHUNK)]
    is_among = [(torch.cdist(chunk, members) <= torch.cat(reach)).any(1) for chunk in points.split(CHUNK)]
    return torch.cat(is_among).double().mean().item()
