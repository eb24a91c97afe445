"""Which digits a classifier sees in samples, and how sure it is."""

from collections.abc import Sequence

import torch
from torch import Tensor

from nf_mnist.errors import ShapeError

CONFIDENT = 0.95  # probability of one digit
DIGIT_SHAPE = (1, 28, 28)


def check_digits(event_shape: tuple[int, ...]) -> None:
    """Check that images can be judged by the classifier.

    Raises:
        ShapeError: If they have another shape than MNIST's.
    """
    if tuple(event_shape) != DIGIT_SHAPE:
        raise ShapeError(f"the classifier judges digits of 28x28 pixels; this flow draws {tuple(event_shape)}")


def confident_share(probabilities: Tensor) -> float:
    """Return the share of images of which the classifier is confident; probabilities have shape (n, 10)."""
    return (probabilities.amax(1) > CONFIDENT).double().mean().item()


def class_histogram(probabilities: Tensor) -> list[int]:
    """Return how often each digit is the likeliest; probabilities have shape (n, 10)."""
    return probabilities.argmax(1).bincount(minlength=probabilities.shape[1]).tolist()


def class_kl(histogram: Sequence[int], of_data: Sequence[int]) -> float:
    """Return the Kullback-Leibler divergence of a histogram of samples from that of data, in nats.

    Half a count is added to each class (Krichevsky & Trofimov 1981), so that a class without data leaves it finite.
    All samples in one of ten equally frequent classes have ln 10 = 2.30.
    """
    p, q = (torch.tensor(counts, dtype=torch.float64) + 0.5 for counts in (histogram, of_data))
    p, q = p / p.sum(), q / q.sum()
    return (p * (p / q).log()).sum().item()
