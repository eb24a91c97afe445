"""Real images, and how samples are measured against them."""

from typing import NamedTuple

import torch
from torch import Tensor

from nf_mnist.metrics.digits import class_histogram, class_kl, confident_share
from nf_mnist.metrics.frechet import frechet_distance
from nf_mnist.metrics.neighbours import nearest_distance, precision_recall
from nf_mnist.nets import Classifier

MEMORIZED = 0.01  # quantile of the images' distances to training images


class Quality(NamedTuple):
    """Metrics of a set of images against the reference.

    Attributes:
        frechet_distance: Squared, of Gaussians fitted to features.
        precision: Share of the set that lies among the reference, by features.
        recall: Share of the reference that lies among the set.
        confident_share: Share of the set of which the classifier is more than 95% sure.
        class_kl: Of the set's digits from the reference's, in nats.
        memorized_share: Share that is nearer to a training image than 99% of the reference: 1% where nothing is copied.
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
    """Held-out images and training images, seen by a classifier once.

    Args:
        classifier: In evaluation mode; everything is computed on its device.
        images: Levels of held-out images, shape (n, 1, 28, 28).
        train: Levels of the images that the flow was trained on, shape (m, 1, 28, 28).
    """

    def __init__(self, classifier: Classifier, images: Tensor, train: Tensor) -> None:
        self.classifier, self.images, self.train = classifier, images, train
        self.features, probabilities = classifier.judge(images)
        self.histogram = class_histogram(probabilities)
        self.distances = self._to_training_images(images)

    def measure(self, samples: Tensor) -> Quality:
        """Measure samples as levels, shape (k, 1, 28, 28); k like the number of held-out images, for recall's sake."""
        return self._measure(samples, self._to_training_images(samples))

    def floor(self, n: int, seed: int) -> Quality:
        """Return what n training images measure, drawn without replacement: no sampler can be expected to do better.

        Training images are copies of themselves, so the last two metrics are those of the held-out images.
        """
        chosen = torch.randperm(len(self.train), generator=torch.Generator().manual_seed(seed))[:n]
        return self._measure(self.train[chosen], self.distances)

    def _measure(self, levels: Tensor, distances: Tensor) -> Quality:
        features, probabilities = self.classifier.judge(levels)
        histogram = class_histogram(probabilities)
        return Quality(
            frechet_distance(features, self.features),
            *precision_recall(self.features.double(), features.double()),
            confident_share(probabilities),
            class_kl(histogram, self.histogram),
            (distances < self.distances.quantile(MEMORIZED)).double().mean().item(),
            distances.median().item(),
            histogram,
        )

    def _to_training_images(self, levels: Tensor) -> Tensor:
        device = next(self.classifier.parameters()).device
        pixels, train = (part.to(device).flatten(1).float() / 255 for part in (levels, self.train))
        return nearest_distance(pixels, train).cpu()


def alarms(found: Quality, floor: Quality) -> list[str]:
    """Say what is wrong with samples, if anything.

    The bounds lie well outside of what the draw of a thousand real images does to the metrics, and well inside of
    what one digit alone, blurred images or copies of training images do.

    Args:
        found: Of samples.
        floor: Of training images, against the same reference and of the same number.
    """
    checks = {
        "samples are unlike images: a large Frechet distance": found.frechet_distance > 5 * floor.frechet_distance,
        "samples lie outside of the images: a low precision": found.precision < 0.9 * floor.precision,
        "kinds of images are missing: a low recall": found.recall < 0.9 * floor.recall,
        "many samples are no clear digit": found.confident_share < 0.9 * floor.confident_share,
        "digits are not as frequent as in images": found.class_kl > floor.class_kl + 0.05,
        "training images are repeated": found.memorized_share > 5 * MEMORIZED,
    }
    return [said for said, is_so in checks.items() if is_so]
