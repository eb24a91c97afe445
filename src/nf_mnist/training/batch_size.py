"""The batch size at which a device is busy, found by training."""

from collections.abc import Callable

import torch
from torch import Tensor

from nf_mnist.data import Images
from nf_mnist.hardware import time_when_done
from nf_mnist.training.module import FlowModule

SMALLEST = 32
MIN_GAIN = 0.1  # of images per second, for which a batch size is doubled
N_WARM_UP, N_STEPS = 3, 10
MAX_SHARE_OF_MEMORY = 0.8  # callbacks, averages of weights and larger validation batches need the rest


def speeds_until_busy(speed: Callable[[int], float | None], largest: int) -> dict[int, float]:
    """Double the batch size until that no longer makes training faster by a tenth.

    Args:
        speed: Returns images per second at a batch size, or None if the batch does not fit.
        largest: The largest batch size to try.

    Returns:
        The speed at each size that pays, the last of which is the one to take; empty if not even the smallest fits.
    """
    speeds: dict[int, float] = {}
    size = SMALLEST
    while size <= largest and (found := speed(size)) is not None:
        if speeds and found < (1 + MIN_GAIN) * speeds[size // 2]:
            break
        speeds[size] = found
        size *= 2
    return speeds


class TrainingSpeed:
    """Measures how fast a module trains on a device; its weights change.

    Args:
        module: The module, on the device.
        images: Images to train on; their number is the largest batch size.
        autocast: Context in which the networks run.
    """

    def __init__(self, module: FlowModule, images: Images, autocast: torch.autocast) -> None:
        self.device = next(module.parameters()).device
        self.module, self.autocast = module, autocast
        self.images = Images(images.levels.to(self.device), images.labels.to(self.device))
        self.optimizer = module.configure_optimizers()

    def __call__(self, batch_size: int) -> float | None:
        """Return images per second, or None if they do not fit into the memory that a training may take."""
        rows = torch.arange(batch_size, device=self.device)
        try:
            for _ in range(N_WARM_UP):
                self._step(rows)
            begin = time_when_done(self.device)
            for _ in range(N_STEPS):
                self._step(rows)
            seconds = time_when_done(self.device) - begin
        except torch.OutOfMemoryError:
            return None
        return batch_size * N_STEPS / seconds if self._fits() else None

    def _step(self, rows: Tensor) -> None:
        with self.autocast:
            loss = self.module.loss(self.images.select(rows)[:2])
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()

    def _fits(self) -> bool:
        if self.device.type != "cuda":
            return True
        memory = torch.cuda.get_device_properties(self.device).total_memory
        return torch.cuda.max_memory_allocated(self.device) <= MAX_SHARE_OF_MEMORY * memory
