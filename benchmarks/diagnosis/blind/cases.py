"""What a set of the trial is, what a case of it is, and the images that a case is shown."""

import os
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

from torch import Tensor, nn

from nf_mnist.data import Images, mnist, split

N_VALIDATION = 10_000
FOLDER = Path(os.environ.get("BLIND_FOLDER", "outputs/blind_diagnosis"))
BUILT = "flow._target_=benchmarks.diagnosis.blind.weights.named"


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


class BlindSet(NamedTuple):
    """Flows that were written together, before any of them was diagnosed.

    Attributes:
        name: Name of the set, of its package and of its folder.
        faulty: Faulty flows by name.
        fine: Healthy flows by name.
        by_command: For each flow that the command diagnoses instead of a call, the setting that gives it the flow.
    """

    name: str
    faulty: Mapping[str, Case]
    fine: Mapping[str, Case]
    by_command: Mapping[str, str]

    @property
    def cases(self) -> dict[str, Case]:
        """All flows by name."""
        return {**self.faulty, **self.fine}

    @property
    def folder(self) -> Path:
        """Folder of weights and answers."""
        return FOLDER / self.name

    def answer_file(self, name: str) -> Path:
        """Return the file of what the diagnosis said of a flow."""
        return self.folder / f"{name}.json"

    def notes(self, kind: str) -> Path:
        """Return the file of ``causes``, written before the first run, or of ``judgements``, written after it."""
        return Path(__file__).parent / self.name / f"{kind}.json"


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
