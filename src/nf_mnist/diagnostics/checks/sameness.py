"""The check that images are like those of the training, as far as plain statistics of both tell."""

import torch
from torch import Tensor

from nf_mnist.diagnostics.base import Measurement, NotMeasured, check, require_images
from nf_mnist.diagnostics.causes.images import OF_OTHER_KINDS, SHUFFLE, facts, how_they_differ
from nf_mnist.diagnostics.checks.data import images_do_not_repeat
from nf_mnist.diagnostics.measures.changes import SIMPLE, Change, fits, shifts
from nf_mnist.diagnostics.measures.image_statistics import differences, distance_of_means
from nf_mnist.diagnostics.measures.two_samples import are_of_another_kind
from nf_mnist.diagnostics.task import DiagnosisTask

N_COMPARED, MIN_COMPARED, MAX_PIXELS = 2000, 200, 2_000_000  # images, and pixels of all of them
N_CHANGED = 300  # images that changes are tried on
WEIGHT = 0.2  # of a deviation of a statistic against one of the mean image
ALIKE, UNLIKE = 0.1, 0.15
EXPLAINED = 0.5  # share of a difference that is left when a change has undone its cause
UNDONE = 0.2  # smallest difference that a change may explain, in deviations
OTHERS = "the images are other ones than those of the training: another set, another split, or another preprocessing"


@check(
    "images are like the training images",
    unit="deviations of the pixels",
    warn=ALIKE,
    fail=UNLIKE,
    cause=OTHERS,
    remedy="read images in training and here by one function, and look at some of both",
    needs=(images_do_not_repeat,),
)
def images_are_like_the_training_images(task: DiagnosisTask) -> Measurement:
    """The root mean square distance of the mean images, in standard deviations of the pixels, less what is chance.

    A fifth of the difference of a statistic, in its standard deviations over training images, counts if it is larger.
    The statistics are mean level, share of pixels that are black or saturated, number of levels, sharpness, box of what
    is lit, and centre. Of 3000 pairs of samples of 100 images of MNIST one exceeds 0.1 and none 0.15; zeros and ones
    are 0.3 away from all digits. Changes are tried that would undo the difference.
    """
    images, train = compared_images(task)
    require_images(min(len(images), len(train)))
    found = differences(images, train)
    of_means = distance_of_means(images, train)
    size = max(of_means, *(WEIGHT * abs(one.size) for one in found.values()))
    if size <= ALIKE:
        return Measurement(size)
    text = "; ".join(filter(None, (f"{size:.2g} deviations, of the mean images {of_means:.2g}", facts(found))))
    if change := closest_change(_as_data(images), _as_data(train)):
        cause = f"the images differ from the training images: they are {change[0].name}"
        return Measurement(size, f"{text}; {change[1]:.2g} when that is undone", cause, "read both by one function")
    if how := how_they_differ(found):
        return Measurement(size, text, f"the images differ from the training images: they are {how}", is_shown=False)
    if are_of_another_kind(images, train):
        return Measurement(size, text, OF_OTHER_KINDS, SHUFFLE)
    cause = "the images differ from the training images: they are of other classes or kinds, the mean images differ"
    return Measurement(size, text, cause if of_means > ALIKE else "", is_shown=False)


def compared_images(task: DiagnosisTask) -> list[Tensor]:
    """Return grey levels of images to score and of training images: random samples of the whole sets if at hand."""
    if task.train is None:
        raise NotMeasured("there are no training images")
    sets = task.sets or (task.batch.levels, task.train.levels)
    n = min(N_COMPARED, max(MIN_COMPARED, MAX_PIXELS // task.flow.dims))
    generator = torch.Generator().manual_seed(task.seed)
    return [levels[torch.randperm(len(levels), generator=generator)[:n].to(levels.device)].cpu() for levels in sets]


def _as_data(levels: Tensor) -> Tensor:
    """Return a few images in the middle of their levels, in the unit interval."""
    return (levels[:N_CHANGED].double() + 0.5) / 256


def closest_change(images: Tensor, train: Tensor) -> tuple[Change, float] | None:
    """Return the change that brings images closest to training images, and what is left; None if none helps much."""
    before = difference(images, train)
    if before < UNDONE:
        return None
    displaced = shifts(images, train.mean(0)) if images.dim() == 4 else []
    changes = [one for one in (*SIMPLE, *displaced) if fits(one, images)]
    rests = [difference(change.apply(images), train) for change in changes]
    best = min(range(len(rests)), key=rests.__getitem__)
    return (changes[best], rests[best]) if rests[best] < EXPLAINED * before else None


def difference(images: Tensor, train: Tensor) -> float:
    """Return how far two sets of images differ in their mean images and in their grey levels.

    The first is the root mean square over pixels in deviations of the pixels, less what is chance; the second is half
    of the same of the sorted levels. The larger one counts.

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


SAMENESS = (images_are_like_the_training_images,)
