"""Checks of samples: are they finite, and do they come back?"""

import math

from nf_mnist.diagnostics.base import Measurement, NotMeasured, check
from nf_mnist.diagnostics.checks.contract import SOUND
from nf_mnist.diagnostics.checks.map import inverse_undoes_forward
from nf_mnist.diagnostics.checks.numbers import changed_pixels, images_come_back
from nf_mnist.diagnostics.task import DiagnosisTask
from nf_mnist.metrics.invertibility import round_trip

N_SAMPLES = 32


@check(
    "samples are finite",
    unit="of the pixels",
    warn=0.0,
    fail=0.01,
    cause="the inverse overflows at latents of the prior; why is not known. Early in training, unbounded scales do it",
    remedy="look at the first layer whose inverse overflows; bound its scale, or train longer",
    needs=(*SOUND, inverse_undoes_forward),
    of_trained=True,
)
def samples_are_finite(task: DiagnosisTask) -> Measurement:
    """The share of pixels of samples that are NaN or infinite."""
    return Measurement(1 - task.samples.x.isfinite().double().mean().item())


@check(
    "samples keep off 0 and 1",
    unit="of the samples have no latent of the prior",
    warn=0.0,
    fail=math.inf,
    is_usual=True,
    cause="some pixels are at 0, at 1 or beyond: their logits lie so far out that a sigmoid rounds, as early in "
    "training, or in autoregression, where what is unusual in one pixel grows from pixel to pixel",
    remedy="nothing, if they are few; sample at a lower temperature, or train longer",
    needs=(*SOUND, inverse_undoes_forward, samples_are_finite),
    of_trained=True,
)
def samples_keep_off_0_and_1(task: DiagnosisTask) -> Measurement:
    """The share of samples with a pixel at 0, at 1 or beyond whose latents are not finite, or far from the prior.

    A sigmoid of 17 is 1 in float32. If the logit has a margin, its logit is finite: 16 for a margin of 1e-5.
    """
    return Measurement(task.saturated_samples.double().mean().item())


@check(
    "samples come back in float32",
    unit="of the pixels come back on another level",
    warn=1e-4,
    fail=0.01,
    cause="samples lie where the inverse stretches far more than at data, or where forward saturates",
    remedy="bound the log-scales, normalise by ActNorm, or train longer",
    overrides=(
        "model.flow.scale_activation=tanh",
        "model.norm=actnorm",
    ),
    needs=(*SOUND, inverse_undoes_forward, images_come_back, samples_are_finite),
    of_trained=True,
)
def samples_come_back(task: DiagnosisTask) -> Measurement:
    """The same for samples as for images. Samples that do not keep off 0 and 1 are left out."""
    samples = task.samples.first(N_SAMPLES)
    kept = ~task.saturated_samples[:N_SAMPLES]
    if not kept.any():
        raise NotMeasured("every sample has a pixel at 0, at 1 or beyond and no latent of the prior")
    context = None if samples.context is None else samples.context[kept]
    return changed_pixels(round_trip(task.flow, samples.x[kept], context))


SAMPLES = (samples_are_finite, samples_keep_off_0_and_1, samples_come_back)
