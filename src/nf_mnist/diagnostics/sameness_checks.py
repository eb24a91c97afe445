"""The check that images are like those of the training, as far as plain statistics of both tell."""

import torch
from torch import Tensor

from nf_mnist.diagnostics.base import Measurement, NotMeasured, check, require_images
from nf_mnist.diagnostics.changes import SIMPLE, Change, fits, shifts
from nf_mnist.diagnostics.task import DiagnosisTask

EXPLAINED = 0.5  # share of a difference that is left when a change has undone its cause


@check(
    "images are like the training images",
    unit="deviations of the pixels",
    warn=0.4,
    fail=0.6,
    cause="the images are other ones than those of the training: another set, another split, or another preprocessing",
    remedy="read images in training and here by one function, and look at some of both",
    needs=(),
)
def images_are_like_the_training_images(task: DiagnosisTask) -> Measurement:
    """The difference of the mean images, root mean square, in deviations of the pixels, less what is chance.

    Half of the difference of their grey levels, sorted, counts as much. Both are near 0 for two halves of one set, and
    0.4 for the digit 0 against all digits. Changes are tried that would undo the difference.
    """
    if task.train is None:
        raise NotMeasured("there are no training images")
    images, train = task.batch.x, task.train.x
    require_images(min(len(images), len(train)))
    size = difference(images, train)
    of_both = [_statistics(levels) for levels in (task.batch.levels, task.train.levels)]
    text = f"{size:.2g} deviations: {of_both[0]}, those of the training {of_both[1]}"
    if size <= 0.4:
        return Measurement(size, f"{size:.2g} deviations of the pixels")
    found = closest_change(images, train)
    if found is None:
        return Measurement(size, text)
    change, rest = found
    cause = f"the images differ from the training images: they are {change.name}"
    return Measurement(size, f"{text}; {rest:.2g} when that is undone", cause, "read both by one function")


def closest_change(images: Tensor, train: Tensor) -> tuple[Change, float] | None:
    """Return the change that brings images closest to training images, and what is left; None if none helps much."""
    changes = [one for one in (*SIMPLE, *shifts(images, train.mean(0))) if fits(one, images)]
    rests = [difference(change.apply(images), train) for change in changes]
    best = min(range(len(rests)), key=rests.__getitem__)
    return (changes[best], rests[best]) if rests[best] < EXPLAINED * difference(images, train) else None


def difference(images: Tensor, train: Tensor) -> float:
    """Return how far two sets of images differ in their mean images and in their grey levels.

    Args:
        images: Images, shape (n, *event).
        train: Images to compare with, shape (m, *event).
    """
    images, train = images.double(), train.double()
    deviation = train.var(0).mean().sqrt()
    chance = (images.var(0) / len(images) + train.var(0) / len(train)).mean()
    of_means = ((images.mean(0) - train.mean(0)).square().mean() - chance).clamp(min=0).sqrt()
    points = torch.linspace(0, 1, 201, dtype=torch.float64, device=images.device)
    of_levels = (_quantiles(images, points) - _quantiles(train, points)).square().mean().sqrt() / 2
    return (torch.maximum(of_means, of_levels) / deviation.clamp(min=1e-9)).item()


def _quantiles(images: Tensor, points: Tensor) -> Tensor:
    ordered = images.flatten().sort().values
    return ordered[(points * (len(ordered) - 1)).long()]


def _statistics(levels: Tensor) -> str:
    values = levels.double()
    return f"levels {int(values.min())} to {int(values.max())} of mean {values.mean().item():.3g}"


SAMENESS = (images_are_like_the_training_images,)
