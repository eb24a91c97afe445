"""Loaders of batches ``(levels, labels)``.

The images stay one tensor and a batch is an index into it, which costs microseconds: there are no workers. Each of
``world_size`` processes takes every ``world_size``-th image, so Lightning need not (and cannot) add a sampler.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from nf_mnist.data import Images

Batch = tuple[Tensor, Tensor]


class TrainingLoader:
    """Batches in an order that depends on seed and epoch alone; drops what does not fill a batch.

    ``state_dict`` and ``load_state_dict`` let a resumed run go on in the middle of an epoch; Lightning calls them.

    Args:
        images: All images of the split.
        batch_size: Images in a batch of this process.
        seed: Of the order.
        rank: Number of this process.
        world_size: Number of processes.
    """

    def __init__(self, images: Images, batch_size: int, seed: int, rank: int = 0, world_size: int = 1) -> None:
        self.images, self.batch_size, self.seed = images, batch_size, seed
        self.rank, self.world_size = rank, world_size
        self.epoch = 0
        self.n_taken = 0

    def __len__(self) -> int:
        """Return the number of batches of a whole epoch."""
        return len(self.images.levels) // self.world_size // self.batch_size

    def __iter__(self) -> Iterator[Batch]:
        """Yield the rest of the present epoch, or the next epoch if the present one is through."""
        if self.n_taken >= len(self):
            self.epoch, self.n_taken = self.epoch + 1, 0
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(len(self.images.levels), generator=generator)[self.rank :: self.world_size]
        while self.n_taken < len(self):
            rows = order[self.n_taken * self.batch_size :][: self.batch_size]
            self.n_taken += 1
            yield self.images.select(rows)

    def state_dict(self) -> dict[str, Any]:
        """Return the position: the epoch and the batches of it that were taken."""
        return {"epoch": self.epoch, "n_taken": self.n_taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a position that :meth:`state_dict` returned."""
        self.epoch, self.n_taken = state["epoch"], state["n_taken"]


class EvaluationLoader:
    """All images once, in the order of the split.

    Args:
        images: All images of the split.
        batch_size: Images in a batch of this process.
        rank: Number of this process.
        world_size: Number of processes.
    """

    def __init__(self, images: Images, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        self.images, self.batch_size = images, batch_size
        self.own = torch.arange(rank, len(images.levels), world_size)

    def __len__(self) -> int:
        """Return the number of batches, the last of which may be smaller."""
        return -(-len(self.own) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches."""
        for batch_idx in range(len(self)):
            rows = self.indices(batch_idx)
            yield self.images.select(rows)

    def indices(self, batch_idx: int) -> Tensor:
        """Return which images of the split are in a batch, shape (batch,)."""
        return self.own[batch_idx * self.batch_size :][: self.batch_size]
