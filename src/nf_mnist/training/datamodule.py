"""Images for Lightning: the split, and a loader for each part."""

from collections.abc import Callable

import lightning as L

from nf_mnist.bijectors import Shape
from nf_mnist.data import ImageSet, fingerprint, split
from nf_mnist.errors import DataError
from nf_mnist.training.loader import EvaluationLoader, TrainingLoader


class ImageDataModule(L.LightningDataModule):
    """Training, validation and test images of one set.

    A seeded random choice sets validation images apart from the official training file. The official test images are
    never among either. Batches are ``(levels, labels)``; the module dequantizes them on its device.

    Args:
        source: Returns the set; called once.
        event_shape: (1, height, width) of the images that the model is built for.
        n_validation: Number of validation images, or their share if below 1.
        split_seed: Seed for the choice of validation images.
        batch_size: Number of training images in a step, per process.
        eval_batch_size: Number of images in a validation batch.
        seed: Seed for the order of the training images.
    """

    def __init__(
        self,
        source: Callable[[], ImageSet],
        event_shape: Shape,
        n_validation: int | float,
        split_seed: int,
        batch_size: int,
        eval_batch_size: int,
        seed: int,
    ) -> None:
        super().__init__()
        self.source = source
        self.event_shape = tuple(event_shape)
        self.n_validation, self.split_seed = n_validation, split_seed
        self.batch_size, self.eval_batch_size = batch_size, eval_batch_size
        self.seed = seed
        self.is_ready = False

    def setup(self, stage: str | None = None) -> None:
        """Read and split the images; later calls do nothing.

        Raises:
            DataError: If the images have another shape than the model takes, or do not fill a batch.
        """
        if self.is_ready:
            return
        images, self.test = found = self.source()
        for name, part in (("images", images), ("test images", self.test)):
            shape = tuple(part.levels.shape[1:])
            if shape != self.event_shape:
                raise DataError(f"the {name} are {shape}, but data.event_shape is {self.event_shape}")
        self.validation, self.train = split(images, self.n_validation, self.split_seed)
        if len(self.train.levels) < self.batch_size:
            raise DataError(f"batch_size={self.batch_size} exceeds the {len(self.train.levels)} training images")
        self.sha256 = fingerprint(found)
        self.is_ready = True

    def train_dataloader(self) -> TrainingLoader:
        """Return shuffled batches of this process's share of the training images.

        Raises:
            DataError: If the images do not fill a batch for each process.
        """
        rank, world_size = self._rank_and_world_size()
        device = "cpu" if self.trainer is None else self.trainer.strategy.root_device
        loader = TrainingLoader(self.train, self.batch_size, self.seed, rank, world_size, device)
        if not len(loader):
            raise DataError(
                f"batch_size={self.batch_size} for each of {world_size} processes exceeds the "
                f"{len(self.train.levels)} training images; lower data.batch_size or trainer.devices"
            )
        return loader

    def val_dataloader(self) -> EvaluationLoader:
        """Return validation batches in the order of the split, which is random."""
        return EvaluationLoader(self.validation, self.eval_batch_size, *self._rank_and_world_size())

    def _rank_and_world_size(self) -> tuple[int, int]:
        trainer = self.trainer
        return (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)
