"""Loaders of batches ``(levels, labels)``.

All images stay in one tensor, on the device that trains, and a batch is an index into it. That costs microseconds, so
there are no workers. Each of ``world_size`` processes takes every ``world_size``-th image, so Lightning need not (and
cannot) add a sampler.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from nf_mnist.data import Images

Batch = tuple[Tensor, Tensor]


class TrainingLoader:
    """Batches in an order that depends only on seed and epoch; images that do not fill a batch are dropped.

    Lightning calls ``state_dict`` and ``load_state_dict``, so that a resumed run continues within an epoch.

    Args:
        images: All images of the split.
        batch_size: Number of images in a batch of this process.
        seed: Seed for the order.
        rank: Number of this process.
        world_size: Number of processes.
        device: Where all images are kept, and where the batches come from.
    """

    def __init__(
        self,
        images: Images,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        self.images = Images(images.levels.to(device), images.labels.to(device))
        self.batch_size, self.seed, self.device = batch_size, seed, device
        self.rank, self.world_size = rank, world_size
        self.epoch = 0
        self.n_taken = 0

    def __len__(self) -> int:
        """Return the number of batches in a whole epoch."""
        return len(self.images.levels) // self.world_size // self.batch_size

    def __iter__(self) -> Iterator[Batch]:
        """Yield the rest of the present epoch, or the next epoch if the present one is complete."""
        if self.n_taken >= len(self):
            self.epoch, self.n_taken = self.epoch + 1, 0
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(len(self.images.levels), generator=generator)[self.rank :: self.world_size]
        order = order.to(self.device)
        while self.n_taken < len(self):
            rows = order[self.n_taken * self.batch_size :][: self.batch_size]
            self.n_taken += 1
            yield self.images.select(rows)[:2]

    def state_dict(self) -> dict[str, Any]:
        """Return the position: the epoch, and the number of its batches that were taken."""
        return {"epoch": self.epoch, "n_taken": self.n_taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a position that :meth:`state_dict` returned."""
        self.epoch, self.n_taken = state["epoch"], state["n_taken"]


class EvaluationLoader:
    """All images once, in the order of the split.

    Args:
        images: All images of the split.
        batch_size: Number of images in a batch of this process.
        rank: Number of this process.
        world_size: Number of processes.
    """

    def __init__(self, images: Images, batch_size: int, rank: int = 0, world_size: int = 1) -> None:
        self.images, self.batch_size = images, batch_size
        self.own = torch.arange(rank, len(images.levels), world_size)

    def __len__(self) -> int:
        """Return the number of batches; the last one may be smaller."""
        return -(-len(self.own) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches."""
        for batch_idx in range(len(self)):
            yield self.images.select(self.indices(batch_idx))[:2]

    def indices(self, batch_idx: int) -> Tensor:
        """Return the indices of a batch's images in the split, shape (batch,)."""
        return self.own[batch_idx * self.batch_size :][: self.batch_size]
