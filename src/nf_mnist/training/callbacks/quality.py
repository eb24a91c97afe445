"""The quality of samples at each validation."""

from typing import Any, cast

import lightning as L
import torch

from nf_mnist.errors import ConfigError, check_range
from nf_mnist.metrics import N_NEIGHBOURS, Quality, ReferenceImages, check_digits, draw_levels
from nf_mnist.nets import Classifier
from nf_mnist.training.callbacks.base import flow_module, tensorboard_writers

BATCH_SIZE = 100  # samples drawn at once


class LogQuality(L.Callback):
    """Logs metrics of samples at temperature 1.0, ``quality/...``, and of training images, ``quality_floor/...``.

    Both are measured against as many validation images. The latents stay the same, so that metrics change only with the
    flow. A few hundred samples have larger Frechet distances and lower recalls than ten thousand.

    Args:
        classifier: The network that extracts features and digits, in evaluation mode.
        n_samples: Number of samples, training images and validation images at each validation.
        seed: Seed for the latents and for the choice of training images.

    Raises:
        ConfigError: If there are too few samples or validation images to have neighbours.
    """

    def __init__(self, classifier: Classifier, n_samples: int, seed: int = 0) -> None:
        check_range(N_NEIGHBOURS + 1, n_samples=n_samples)
        self.classifier, self.n_samples, self.seed = classifier, n_samples, seed
        self._reference: ReferenceImages | None = None
        self._floor: Quality | None = None

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        check_digits(flow_module(pl_module).flow.event_shape)
        n_images = len(cast(Any, trainer).datamodule.validation.levels)
        if n_images <= N_NEIGHBOURS:
            raise ConfigError(f"callbacks=quality needs {N_NEIGHBOURS + 1} validation images or more, got {n_images}")

    @torch.no_grad()
    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        writers = list(tensorboard_writers(trainer))
        if not writers:
            return
        with torch.autocast(pl_module.device.type, enabled=False):
            if self._reference is None or self._floor is None:
                datamodule = cast(Any, trainer).datamodule
                images, train = datamodule.validation.levels[: self.n_samples], datamodule.train.levels
                self._reference = ReferenceImages(self.classifier.to(pl_module.device), images, train)
                self._floor = self._reference.floor(self.n_samples, self.seed)
            flow = flow_module(pl_module).flow
            drawn = draw_levels(flow, self.n_samples, batch_size=BATCH_SIZE, seed=self.seed)
            quality = self._reference.measure(drawn.levels)
        for writer in writers:
            for group, metrics in (("quality", quality), ("quality_floor", self._floor)):
                for name, value in metrics._asdict().items():
                    if isinstance(value, float):
                        writer.add_scalar(f"{group}/{name}", value, trainer.global_step)
