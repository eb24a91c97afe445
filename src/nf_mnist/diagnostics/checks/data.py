"""Checks of the data that a flow is given: grey levels, copies within a set and between sets, and dither."""

import math

from torch import Tensor

from nf_mnist.diagnostics.base import Measurement, NotMeasured, check, worst
from nf_mnist.diagnostics.measures.likelihood import fullest_sixteenth, most_frequent_share
from nf_mnist.diagnostics.task import DiagnosisTask

FREQUENT = 0.01  # share of pixels that have one and the same value; in dithered images it is far smaller


@check(
    "images use the grey levels",
    unit="of the 8 bits are not used",
    warn=1.0,
    fail=4.0,
    cause="the images were scaled to [0, 1] before they became whole numbers, or are binary ones",
    remedy="levels from 0 to 255 as uint8: (255 * image).round()",
    needs=(),
    is_cheap=True,
)
def images_use_the_grey_levels(task: DiagnosisTask) -> Measurement:
    """The logarithm of 256 over one more than the largest level.

    Images of two levels are at least a warning, and fail if the training images have more.
    """
    levels = task.batch.levels
    largest, n_levels = int(levels.max()), len(levels.unique())
    size, text = 8 - math.log2(largest + 1), f"{n_levels} levels, the largest is {largest}"
    if n_levels > 2 or size > 1:
        return Measurement(size, text)
    if task.train is not None and len(task.train.levels.unique()) > 2:
        cause = "the images are black and white only, as after a threshold; the training images have grey levels"
        return Measurement(7.0, text, cause, "read images in training and here by one function")
    cause = "the images have two levels only, as after a threshold: bits per dimension are not those of greys"
    return Measurement(2.0, text, cause, "images with their greys, or a model of binary images")


@check(
    "the sets share no image",
    unit="of the images are in the training set, too",
    warn=0.001,
    fail=0.01,
    cause="the sets overlap: images were duplicated before the split, a set was taken from the other one, or images "
    "are so simple that they repeat by chance",
    remedy="drop duplicates before splitting",
    needs=(),
)
def sets_share_no_image(task: DiagnosisTask) -> Measurement:
    """The share of images whose levels are exactly those of a training image. MNIST's own sets share none."""
    if task.sets is None:
        raise NotMeasured("the whole sets are not at hand")
    scored, train = task.sets
    seen = set(_contents(train))
    shared = sum(image in seen for image in _contents(scored))
    return Measurement(
        shared / len(scored), f"{shared} of {len(scored)} images are also among {len(train)} for training"
    )


@check(
    "images show something",
    unit="of the images have one level only",
    warn=0.001,
    fail=0.01,
    cause="images are empty",
    remedy="look at where the array is filled, and leave out images that could not be read",
    needs=(),
)
def images_show_something(task: DiagnosisTask) -> Measurement:
    """The share of images, to score or of the training, all of whose pixels have one level. MNIST has none."""
    return worst([_empty(levels, whose) for levels, whose in _sets(task)])


@check(
    "images do not repeat",
    unit="of the images are copies of others",
    warn=0.2,
    fail=0.4,
    cause="images are repeated",
    remedy="look at how images are chosen and joined: an index of a batch may be taken for one of an image",
    needs=(images_show_something,),
)
def images_do_not_repeat(task: DiagnosisTask) -> Measurement:
    """The share of images, to score or of the training, that are copies of earlier ones, level by level.

    MNIST has none, and a set in which each image is there twice has a half. Of 100 images that are as simple as a bar
    at one of four places in one of 156 greys, some 8% repeat by chance.
    """
    return worst([_copies(levels, whose) for levels, whose in _sets(task)])


def _sets(task: DiagnosisTask) -> list[tuple[Tensor, str]]:
    """Return the grey levels of the whole sets, or else of the images at hand, and whose they are."""
    sets = task.sets or (task.batch.levels, *(() if task.train is None else (task.train.levels,)))
    return list(zip(sets, ("images", "training images"), strict=False))


def _empty(levels: Tensor, whose: str) -> Measurement:
    """Return the share of images of shape (n, *event) that have one level only, with the cause."""
    flat = levels.flatten(1)
    least = flat.amin(1)
    found = least[least == flat.amax(1)]
    share = len(found) / len(levels)
    if not len(found):
        return Measurement(share, f"all {whose} have several levels")
    cause = f"{whose} are empty, as where an array was not filled to its end: all pixels have level {int(found[0])}"
    return Measurement(share, f"{len(found)} of {len(levels)} {whose}", cause)


def _contents(levels: Tensor) -> list[bytes]:
    """Return what can be compared of each image, shape (n, *event)."""
    return [bytes(image) for image in levels.cpu().flatten(1).numpy()]


def _copies(levels: Tensor, whose: str) -> Measurement:
    """Return the share of copies among images of shape (n, *event), with the cause."""
    n = len(levels)
    n_different = len(set(_contents(levels)))
    share = 1 - n_different / n
    cause = f"{whose} are repeated: {n_different} different ones among {n}"
    return Measurement(share, f"{share:.3g} of the {whose} are copies of others", cause)


@check(
    "data lie in the unit interval",
    unit="of the pixels lie outside of [0, 1]",
    warn=0.0,
    fail=0.001,
    cause="after dithering, levels are divided by a number other than 256, or not at all",
    remedy="x = (v + u) / 256 with u in (0, 1)",
    overrides=("data.dequantizer=uniform",),
    needs=(),
    is_cheap=True,
)
def data_lie_in_the_unit_interval(task: DiagnosisTask) -> Measurement:
    """The logit is defined on this interval only, and bits per dimension count a division by 256."""
    if not task.is_in_unit_interval:
        raise NotMeasured("the noise of these images leaves the interval on purpose")
    x = task.batch.x
    return Measurement(1 - ((x >= 0) & (x <= 1)).double().mean().item())


@check(
    "data are dithered",
    unit="of the pixels have one and the same value",
    warn=FREQUENT,
    fail=0.1,
    cause="levels are not dequantized: a density on isolated points has no upper bound and is no likelihood",
    remedy="dequantize: x = (v + u) / 256 with u in (0, 1)",
    overrides=("data.dequantizer=uniform",),
    needs=(),
    is_cheap=True,
)
def data_are_dithered(task: DiagnosisTask) -> Measurement:
    """81% of MNIST's pixels are black. Dithered with 15 bits, no value is more frequent than one pixel in 10,000."""
    return Measurement(most_frequent_share(task.batch.x))


@check(
    "dither fills a level",
    unit="of the pixels lie in one sixteenth of their level",
    warn=0.25,
    fail=0.5,
    cause="the noise is narrower than a level: it was scaled for images instead of levels, or cut off",
    remedy="x = (v + u) / 256 with u in (0, 1)",
    overrides=("data.dequantizer=uniform",),
    needs=(data_are_dithered,),
    is_cheap=True,
)
def dither_fills_a_level(task: DiagnosisTask) -> Measurement:
    """Uniform noise puts one sixteenth of the pixels into each sixteenth of a level.

    It bounds the likelihood only if it fills the whole level. Learned noise may be narrower, since its density counts.
    """
    if (task.batch.log_q != task.batch.log_q[:1]).any():
        raise NotMeasured("the dither is learned: log q(x | levels) differs from image to image")
    return Measurement(fullest_sixteenth(task.batch.x))


DATA = (
    images_use_the_grey_levels,
    sets_share_no_image,
    images_show_something,
    images_do_not_repeat,
    data_lie_in_the_unit_interval,
    data_are_dithered,
    dither_fills_a_level,
)
