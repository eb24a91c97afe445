"""What a case of the trial is, and the images that it is shown."""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from torch import Tensor, nn

from nf_mnist.data import Images, mnist, split

N_VALIDATION = 10_000


class Shown(NamedTuple):
    """What the diagnosis is given beside the flow.

    Attributes:
        levels: Images that the flow was not trained on, shape (n, 1, 28, 28) and dtype uint8.
        train: The same of images that it was trained on.
        labels: Labels of ``levels``, shape (n,), or None for an unconditional flow.
    """

    levels: Tensor
    train: Tensor
    labels: Tensor | None = None


class Case(NamedTuple):
    """A flow of the trial.

    Attributes:
        build: Returns the untrained flow.
        fit: Trains it in place; None for an untrained flow.
        shown: Returns the images that the diagnosis gets; None for the bundled MNIST.
        weights: Name of the case whose weights it has, instead of training; None for its own.
    """

    build: Callable[[], nn.Module]
    fit: Callable[[nn.Module], None] | None = None
    shown: Callable[[], Shown] | None = None
    weights: str | None = None


@cache
def training_and_validation() -> tuple[Images, Images]:
    """Return the images that ``nf_mnist.train`` would train on and validate on."""
    validation, training = split(mnist().train, N_VALIDATION, 0)
    return training, validation


def shown_plainly() -> Shown:
    """Return validation and training images as they are, without labels."""
    training, validation = training_and_validation()
    return Shown(validation.levels, training.levels)


def shown_with_labels() -> Shown:
    """Return validation images with their labels."""
    return shown_plainly()._replace(labels=training_and_validation()[1].labels)
