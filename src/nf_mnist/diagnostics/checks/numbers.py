"""Checks of numbers: are they finite, and what does rounding do to the map?"""

import math

from nf_mnist.diagnostics.access.messages import raised
from nf_mnist.diagnostics.base import Measurement, NotMeasured, check
from nf_mnist.diagnostics.causes.numbers import cause_in_float32, cause_in_low_precision, cause_in_probability_zero
from nf_mnist.diagnostics.checks.contract import SOUND, inputs_are_left_alone, shapes
from nf_mnist.diagnostics.checks.map import HARMLESS, inverse_undoes_forward, worst_round_trip
from nf_mnist.diagnostics.task import DiagnosisTask
from nf_mnist.metrics.invertibility import RoundTrip, round_trip

N_RETURNED = 32  # images that are decoded again
FEW = 1e-4  # of the pixels


@check(
    "log-likelihoods are finite",
    unit="of the images",
    warn=0.0,
    fail=0.0,
    cause="a number overflows or is outside the domain of a function; frequently scales have no bound, or pixels of "
    "exactly 0 or 1 meet a logit",
    remedy="bound the log-scales, dequantize, or train at a lower rate with clipped gradients",
    overrides=(
        "model.flow.scale_activation=tanh",
        "data.dequantizer=uniform",
        "trainer.gradient_clip_val=100",
    ),
    needs=(shapes, inputs_are_left_alone),
    is_cheap=True,
)
def log_likelihoods_are_finite(task: DiagnosisTask) -> Measurement:
    """The share of images with a latent or a log-likelihood that is not finite."""
    scores = task.scores
    finite = scores.log_prob.isfinite() & scores.z.isfinite().all(1)
    size = 1 - finite.double().mean().item()
    text = f"{size:.3g} of the images have none"
    if not size:
        return Measurement(size, text)
    few = task.batch.rows((~finite).nonzero().flatten()[:N_RETURNED])
    cause = cause_in_float32(task, few) or cause_in_probability_zero(task, few)
    return Measurement(size, text, *(cause or ()))


@check(
    "images come back in float32",
    unit="of the pixels come back on another level",
    warn=FEW,
    fail=0.01,
    cause="the inverse magnifies rounding: scales or normalisations stretch too far",
    remedy="bound the log-scales, and normalise by ActNorm",
    overrides=(
        "model.flow.scale_activation=tanh",
        "model.norm=actnorm",
    ),
    needs=(*SOUND, inverse_undoes_forward),
    is_cheap=True,
)
def images_come_back(task: DiagnosisTask) -> Measurement:
    """An error of half a level changes a pixel. 1 pixel in 10,000 is 1 in a dozen images; 1 in 100 is visible."""
    few = task.batch.first(N_RETURNED)
    found = changed_pixels(round_trip(task.flow, few.x, few.context))
    if found.size <= FEW:
        return found
    exact = worst_round_trip(task, N_RETURNED)
    if exact.size > HARMLESS:
        return exact._replace(size=found.size, text=f"{found.text}; {exact.text}")
    return Measurement(found.size, found.text, *(cause_in_low_precision(task) or ()))


@check(
    "images come back in bfloat16",
    unit="of the pixels come back on another level",
    warn=0.03,
    fail=math.inf,
    is_usual=True,
    cause="networks in bfloat16 answer differently to values that differ by rounding, and couplings magnify it",
    remedy="sample and invert in float32; nothing else is needed",
    needs=(*SOUND, inverse_undoes_forward, images_come_back),
)
def images_come_back_in_bfloat16(task: DiagnosisTask) -> Measurement:
    """Training needs the forward direction only, so this is never more than a warning."""
    few = task.batch.first(16)
    try:
        return changed_pixels(round_trip(task.flow, few.x, few.context, "bf16"))
    except Exception as error:  # a user's flow may fail in any way, and need not run in this precision
        raise NotMeasured(f"under autocast to bfloat16 the flow {raised(error)}") from error


def changed_pixels(errors: RoundTrip) -> Measurement:
    """Return the share of pixels that change their level as a measurement, with the largest error."""
    text = f"{errors.changed:.2g} of the pixels, the largest error {errors.largest:.2g} levels"
    return Measurement(errors.changed, text)


NUMBERS = (
    log_likelihoods_are_finite,
    images_come_back,
    images_come_back_in_bfloat16,
)
