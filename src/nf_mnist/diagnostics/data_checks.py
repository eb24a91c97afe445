"""Checks of the data that a flow is given: are they in the unit interval, and does their dither fill grey levels?"""

from nf_mnist.diagnostics.base import Measurement, NotMeasured, check
from nf_mnist.diagnostics.likelihood import fullest_sixteenth, most_frequent_share
from nf_mnist.diagnostics.task import DiagnosisTask

FREQUENT = 0.01  # share of pixels that have one and the same value; in dithered images it is far smaller


@check(
    "data lie in the unit interval",
    unit="of the pixels lie outside of [0, 1]",
    warn=0.0,
    fail=0.001,
    cause="after dithering, levels are divided by a number other than 256, or not at all",
    remedy="x = (v + u) / 256 with u in (0, 1): data.dequantizer=uniform",
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
    remedy="data.dequantizer=uniform",
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
    remedy="x = (v + u) / 256 with u in (0, 1): data.dequantizer=uniform",
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


DATA = (data_lie_in_the_unit_interval, data_are_dithered, dither_fills_a_level)
