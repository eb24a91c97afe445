"""The Lightning module of the classifier: distorted digits and their labels, and what is no digit."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nf_mnist.data import affine, random_maps
from nf_mnist.nets import Classifier
from nf_mnist.training.loader import Batch
from nf_mnist.training.schedule import Schedule
from nf_mnist.training.scheduled_module import OptimizerFactory, ScheduledModule


class ClassifierModule(ScheduledModule):
    """Trains a classifier by cross-entropy on randomly distorted images, and to be unsure of what is no digit.

    A judge of samples must not be sure of noise: without outliers this network is more than 95% sure of all uniform
    noise. On outliers its answer is drawn to the uniform one (Hendrycks et al. 2019, "Deep anomaly detection with
    outlier exposure", equation 2, whose weight is that of images).

    Args:
        classifier: From images in [0, 1] to logits.
        distortion: Largest shift as a share of the half side, and scale of the random linear map; 0: none.
        optimizer: Parameters with their names in, optimizer out.
        schedule: Of the learning rate.
        seed: Of the distortions.
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


def distort(images: Tensor, amount: float) -> Tensor:
    """Apply to each image, shape (batch, 1, height, width), its own random affine map (Simard et al. 2003, section 2).

    Args:
        images: Grey values.
        amount: The elements of the 2x3 matrix move from the identity by a uniform draw in [-amount, amount].
    """
    return affine(images, random_maps(images, 3, amount), "bilinear")


def outliers(images: Tensor) -> Tensor:
    """Return as many images that are no digits, of three kinds at random, shape (batch, 1, height, width).

    The pixels of an image in random order; its 4x4 blocks (of 7x7 pixels for MNIST) in random order; and uniform noise,
    of which a random share is black.
    """
    batch, _, height, width = images.shape
    flat = images.flatten(1)
    scattered = flat.gather(1, torch.rand_like(flat).argsort(1)).reshape(images.shape)
    size = (height // 4, width // 4)
    blocks = F.unfold(images, size, stride=size)
    order = torch.rand(batch, 1, blocks.shape[2], device=images.device).argsort(2)
    moved = F.fold(blocks.gather(2, order.expand_as(blocks)), (height, width), size, stride=size)
    noise = torch.rand_like(images) * (torch.rand_like(images) < torch.rand(batch, 1, 1, 1, device=images.device))
    kind = torch.randint(3, (batch, 1, 1, 1), device=images.device)
    return torch.where(kind == 0, scattered, torch.where(kind == 1, moved, noise))
