"""The Lightning module of the classifier, which learns distorted digits and to be unsure of other images."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nf_mnist.data.classifier_images import distort, outliers
from nf_mnist.data.labels import check_labels
from nf_mnist.nets import Classifier
from nf_mnist.nets.classifier import N_CLASSES
from nf_mnist.training.loader import Batch
from nf_mnist.training.schedule import Schedule
from nf_mnist.training.scheduled_module import OptimizerFactory, ScheduledModule


class ClassifierModule(ScheduledModule):
    """Trains a classifier by cross-entropy on distorted digits, and to be unsure of images that are no digits.

    The classifier measures samples, so it must not be sure of noise. Trained without outliers, this network is more
    than 95% sure of every image of uniform noise. On outliers the loss therefore draws its answer to the uniform
    distribution (Hendrycks et al. 2019, "Deep anomaly detection with outlier exposure", equation 2, where outliers
    weigh as much as digits).

    Args:
        classifier: The network, from images in [0, 1] to logits.
        distortion: Size of the random affine maps; see :func:`~nf_mnist.data.classifier_images.distort`. 0 turns them
            off.
        optimizer: Builds the optimizer from the parameters and their names.
        schedule: Schedule of the learning rate.
        seed: Seed for the distortions and outliers.
    """

    def __init__(
        self,
        classifier: Classifier,
        distortion: float,
        optimizer: OptimizerFactory,
        schedule: Schedule,
        seed: int,
    ) -> None:
        super().__init__(optimizer, schedule, seed)
        self.classifier = classifier
        self.distortion = distortion

    def on_fit_start(self) -> None:
        """Check the labels of all images that will be used.

        Raises:
            ConfigError: If a label is missing or is no digit.
        """
        data = getattr(self.trainer, "datamodule", None)
        for images in (data.train, data.validation, data.test) if data is not None else ():
            check_labels(images.labels, N_CLASSES, "the classifier is trained on", images.labels_source)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        levels, labels = batch
        images = distort(levels.float() / 255, self.distortion)
        others = outliers(images[: len(images) // 2])
        logits = self.classifier(torch.cat([images, others])).float()
        of_images, of_others = logits[: len(images)], logits[len(images) :]
        loss = F.cross_entropy(of_images, labels) - of_others.log_softmax(1).mean()
        self.log("train/loss", loss, batch_size=len(levels))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        levels, labels = batch
        with torch.autocast(levels.device.type, enabled=False):
            logits = self.classifier(levels.float() / 255)
        settings: dict[str, Any] = {"batch_size": len(levels), "sync_dist": True}
        self.log("val/loss", F.cross_entropy(logits, labels), **settings)
        self.log("val/accuracy", (logits.argmax(1) == labels).float().mean(), **settings)
