"""The digits that a classifier sees in images, and its confidence."""

from collections.abc import Sequence

import torch
from torch import Tensor

from nf_mnist.errors import ShapeError

CONFIDENT = 0.95  # the probability of one digit, above which the classifier is confident
DIGIT_SHAPE = (1, 28, 28)


def check_digits(event_shape: tuple[int, ...]) -> None:
    """Check that images have the shape that the classifier takes.

    Raises:
        ShapeError: If they do not have the shape of MNIST's.
    """
    if tuple(event_shape) != DIGIT_SHAPE:
        raise ShapeError(f"the classifier judges digits of 28x28 pixels; this flow draws {tuple(event_shape)}")


def confident_share(probabilities: Tensor) -> float:
    """Return the share of images in which the classifier is confident of one digit; probabilities: shape (n, 10)."""
    return (probabilities.amax(1) > CONFIDENT).double().mean().item()


def class_histogram(probabilities: Tensor) -> list[int]:
    """Return how often each digit is the likeliest; probabilities: shape (n, 10)."""
    return probabilities.argmax(1).bincount(minlength=probabilities.shape[1]).tolist()


def class_kl(histogram: Sequence[int], of_data: Sequence[int]) -> float:
    """Return the Kullback-Leibler divergence from the histogram of data to the histogram of samples, in nats.

    Half a count is added to each class (Krichevsky & Trofimov 1981), so that it is finite if a class has no data. If
    the data has ten equally frequent classes and all samples are of one class, the divergence is ln 10 = 2.30.
    """
    p, q = (torch.tensor(counts, dtype=torch.float64) + 0.5 for counts in (histogram, of_data))
    p, q = p / p.sum(), q / q.sum()
    return (p * (p / q).log()).sum().item()
