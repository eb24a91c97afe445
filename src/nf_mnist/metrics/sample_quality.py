"""Quality of samples, measured against real images."""

from typing import NamedTuple

import torch
from torch import Tensor

from nf_mnist.metrics.digits import class_histogram, class_kl, confident_share
from nf_mnist.metrics.frechet import frechet_distance
from nf_mnist.metrics.neighbours import nearest_distance, precision_recall
from nf_mnist.nets import Classifier

# An image counts as memorized if it is closer to a training image than all but this share of the held-out images.
MEMORIZED = 0.01


class Quality(NamedTuple):
    """Metrics of a set of images against reference images.

    Attributes:
        frechet_distance: Squared Frechet distance between Gaussians fitted to the features.
        precision: Share of the set that lies among the reference images, by features.
        recall: Share of the reference images that lie among the set, by features.
        confident_share: Share of the set in which the classifier is more than 95% sure of a digit.
        class_kl: Kullback-Leibler divergence from the reference's digits to the set's, in nats.
        memorized_share: Share of the set closer to a training image than 99% of the reference images are. It is 1% if
            nothing is copied.
        nearest_distance: Median Euclidean distance to the nearest training image, over pixels in [0, 1].
        class_histogram: How often the classifier sees each digit.
    """

    frechet_distance: float
    precision: float
    recall: float
    confident_share: float
    class_kl: float
    memorized_share: float
    nearest_distance: float
    class_histogram: list[int]


class ReferenceImages:
    """Held-out and training images to measure samples against. The classifier's features are computed once.

    Args:
        classifier: Classifier in evaluation mode. Everything is computed on its device.
        images: Levels of held-out images, shape (n, 1, 28, 28).
        train: Levels of the images that the flow was trained on, shape (m, 1, 28, 28).
    """

    def __init__(self, classifier: Classifier, images: Tensor, train: Tensor) -> None:
        self.classifier, self.images, self.train = classifier, images, train
        self.features, probabilities = classifier.features_and_probabilities(images)
        self.histogram = class_histogram(probabilities)
        self.distances = self._to_training_images(images)

    def measure(self, samples: Tensor) -> Quality:
        """Measure samples as levels, shape (k, 1, 28, 28).

        Use as many samples as there are held-out images, because recall grows with the number of samples.
        """
        return self._measure(samples, self._to_training_images(samples))

    def floor(self, n: int, seed: int) -> Quality:
        """Return the metrics of n training images, drawn without replacement. No sampler should do better.

        Training images are copies of themselves, so ``memorized_share`` and ``nearest_distance`` are those of the
        held-out images.
        """
        chosen = torch.randperm(len(self.train), generator=torch.Generator().manual_seed(seed))[:n]
        return self._measure(self.train[chosen], self.distances)

    def _on_device(self, features: Tensor) -> Tensor:
        return features.to(self._device, torch.float64)

    @property
    def _device(self) -> torch.device:
        return next(self.classifier.parameters()).device

    def _measure(self, levels: Tensor, distances: Tensor) -> Quality:
        features, probabilities = self.classifier.features_and_probabilities(levels)
        histogram = class_histogram(probabilities)
        return Quality(
            frechet_distance(features, self.features),
            *precision_recall(self._on_device(self.features), self._on_device(features)),
            confident_share(probabilities),
            class_kl(histogram, self.histogram),
            (distances < self.distances.quantile(MEMORIZED)).double().mean().item(),
            distances.median().item(),
            histogram,
        )

    def _to_training_images(self, levels: Tensor) -> Tensor:
        pixels, train = (images.to(self._device).flatten(1).float() / 255 for images in (levels, self.train))
        return nearest_distance(pixels, train).cpu()


def alarms(samples: Quality, floor: Quality) -> list[str]:
    """Return in words what is wrong with samples; an empty list if nothing is.

    The bounds are wider than the variation of the metrics over draws of a thousand real images, and narrower than the
    effect of samples of a single digit, blurred images or copies of training images.

    Args:
        samples: Quality of samples.
        floor: Quality of the same number of training images, against the same reference.
    """
    checks = {
        "samples are unlike images: a large Frechet distance": samples.frechet_distance > 5 * floor.frechet_distance,
        "samples lie outside of the images: a low precision": samples.precision < 0.9 * floor.precision,
        "kinds of images are missing: a low recall": samples.recall < 0.9 * floor.recall,
        "many samples are no clear digit": samples.confident_share < 0.9 * floor.confident_share,
        "digits are not as frequent as in images": samples.class_kl > floor.class_kl + 0.05,
        "training images are repeated": samples.memorized_share > 5 * MEMORIZED,
    }
    return [message for message, is_wrong in checks.items() if is_wrong]
