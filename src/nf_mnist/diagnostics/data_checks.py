"""Laws of the data that a flow is given: are they in the unit interval, and is their dither that of grey levels?"""

from nf_mnist.diagnostics.check import Measurement, NotMeasured, law
from nf_mnist.diagnostics.likelihood import fullest_sixteenth, most_frequent_share
from nf_mnist.diagnostics.task import DiagnosisTask

UNIT_INTERVAL = "data lie in the unit interval"
DITHERED = "data are dithered"
FREQUENT = 0.01  # share of pixels of one value; dithered images have far less


@law(
    UNIT_INTERVAL,
    unit="of the pixels lie outside of [0, 1]",
    warn=0.0,
    fail=0.001,
    cause="levels are scaled by something else than 256 after dithering, or not at all",
    cure="x = (v + u) / 256 with u in (0, 1): data.dequantizer=uniform",
    needs=(),
    is_cheap=True,
)
def data_lie_in_the_unit_interval(subject: DiagnosisTask) -> Measurement:
    """Where the logit is defined, and where bits per dimension count the scaling by 256."""
    x = subject.batch.x
    return Measurement(1 - ((x >= 0) & (x <= 1)).double().mean().item())


@law(
    DITHERED,
    unit="of the pixels have one and the same value",
    warn=FREQUENT,
    fail=0.1,
    cause="levels are not dequantized: a density on isolated points has no upper bound and is no likelihood",
    cure="data.dequantizer=uniform",
    needs=(),
    is_cheap=True,
)
def data_are_dithered(subject: DiagnosisTask) -> Measurement:
    """81% of MNIST's pixels are black; dithered with 15 bits, no value is more frequent than one in 10,000."""
    return Measurement(most_frequent_share(subject.batch.x))


@law(
    "dither fills a level",
    unit="of the pixels lie in one sixteenth of their level",
    warn=0.25,
    fail=0.5,
    cause="the noise is narrower than a level: it was added on the scale of images and not of levels, or cut off",
    cure="x = (v + u) / 256 with u in (0, 1): data.dequantizer=uniform",
    needs=(DITHERED,),
    is_cheap=True,
)
def dither_fills_a_level(subject: DiagnosisTask) -> Measurement:
    """A sixteenth of the pixels in each, if so: uniform noise bounds the likelihood only if it fills the whole level.

    Learned noise may be as narrow as it likes, since its density is counted.
    """
    if (subject.batch.log_q != subject.batch.log_q[:1]).any():
        raise NotMeasured("the dither is learned: log q(x | levels) differs from image to image")
    return Measurement(fullest_sixteenth(subject.batch.x))
