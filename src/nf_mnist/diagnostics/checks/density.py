"""Checks of the density: is it a likelihood, is it bounded, and does it hold for images never seen in training?"""

import torch

from nf_mnist.data import UniformDequantizer, evaluation_noise, to_levels
from nf_mnist.diagnostics.base import Measurement, NotMeasured, check, require_images
from nf_mnist.diagnostics.causes.bits import cause_in_unsaved_state, cause_of_many_bits
from nf_mnist.diagnostics.causes.images import OF_OTHER_KINDS, SHUFFLE
from nf_mnist.diagnostics.checks.contract import SOUND
from nf_mnist.diagnostics.checks.data import FREQUENT
from nf_mnist.diagnostics.checks.map import log_det_is_that_of_the_jacobian
from nf_mnist.diagnostics.checks.numbers import log_likelihoods_are_finite
from nf_mnist.diagnostics.checks.sameness import compared_images, images_are_like_the_training_images
from nf_mnist.diagnostics.measures.behaviour import noise_drop
from nf_mnist.diagnostics.measures.likelihood import (
    generalisation_gap,
    most_frequent_share,
    undithered_gain,
    undithered_log_prob,
)
from nf_mnist.diagnostics.measures.two_samples import are_of_another_kind
from nf_mnist.diagnostics.task import DiagnosisTask
from nf_mnist.metrics import bits_per_dim
from nf_mnist.metrics.likelihood import silent_layers

MANY_BITS = "short training, divergence, other data, or weights that do not fit the code; which of these is not known"
TENTH_OF_A_LEVEL = 0.1 / 256


@check(
    "every log-determinant counts",
    unit="logits not counted",
    warn=0.0,
    fail=0.0,
    cause="the logit's log-determinant is left out: the result is a density of logits, not of images, and has no bits",
    remedy="count the log-determinant of each logit",
    overrides=("data.count_log_det=true",),
    needs=(),
    is_cheap=True,
)
def every_log_det_counts(task: DiagnosisTask) -> Measurement:
    """The number of logits whose log-determinant, about 2 nats per dimension, is left out.

    It may be left out if the data have no bits per dimension anyway, as in the protocol of CP3, a simplified Real NVP
    known to us only from its authors' report.
    """
    silent = silent_layers(task.flow)
    if silent and not task.is_discrete:
        return Measurement(0.0, f"{len(silent)} logits not counted, by the protocol of these data: nats of logits")
    return Measurement(float(len(silent)))


@check(
    "no spikes on grey levels",
    unit="nats per dimension",
    warn=1.0,
    fail=3.0,
    cause="the flow was trained on undithered levels: it puts spikes on them, whose height has no bound",
    remedy="dequantize: x = (v + u) / 256 with u in (0, 1)",
    overrides=("data.dequantizer=uniform",),
    needs=(*SOUND, log_likelihoods_are_finite),
    of_trained=True,
)
def no_spikes_on_levels(task: DiagnosisTask) -> Measurement:
    """How much denser images are without dither than with it.

    A Gaussian fitted to the box of a level gains 0.5 nats at its middle. The gain of a spike has no bound.
    """
    if task.weights.are_initial:
        raise NotMeasured("the flow is not trained, so that nothing can have made it put spikes anywhere")
    few = task.batch.first(task.batch_size)
    if not torch.equal(to_levels(few.x), few.levels):
        raise NotMeasured("these data are no dithered levels")
    bits = bits_per_dim(undithered_log_prob(task.flow, few.levels, few.context), few.log_q, task.flow.dims)
    if task.is_discrete and not bits.median() <= 8:
        raise NotMeasured("images without dither need more bits than under the uniform model")
    dithered = few.x
    if most_frequent_share(dithered) > FREQUENT:
        noise = evaluation_noise(torch.arange(len(few.x)), tuple(few.x.shape[1:]), 0, task.seed)
        dithered = UniformDequantizer()(few.levels, noise.to(few.x.device))[0].to(few.x)
    return Measurement(undithered_gain(task.flow, few.levels, dithered, few.context))


@check(
    "validation scores as training does",
    unit="bits per dimension",
    warn=0.1,
    fail=0.5,
    cause="the flow overfits",
    remedy="take an earlier checkpoint, such as the best one, train for fewer steps, or use a smaller model",
    needs=(*SOUND, log_likelihoods_are_finite, images_are_like_the_training_images),
    of_trained=True,
)
def validation_scores_as_training_does(task: DiagnosisTask) -> Measurement:
    """A tenth of a bit is more than the difference between neighbours in any published table."""
    train = task.train_scores
    if train is None:
        raise NotMeasured("there are no training images")
    require_images(min(len(train.z), len(task.batch.x)))
    gap = generalisation_gap(train.log_ratio, task.scores.log_ratio, task.flow.dims)
    text = f"{gap.mean:.3g} bits per dimension, of the medians {gap.median:.3g}"
    if gap.train_median > 8.5:
        raise NotMeasured("training images need more bits than under the uniform model: nothing is learned by heart")
    if gap.mean > 2 * max(gap.median, 0.0):
        cause = "a few images explode: they need far more bits than the others, of which the medians differ little"
        return Measurement(
            gap.mean, text, cause, "look at these images, and at the layers in which their values are large"
        )
    if are_of_another_kind(*compared_images(task)):
        return Measurement(gap.median, text, OF_OTHER_KINDS, SHUFFLE)
    return Measurement(gap.median, text)


@check(
    "bits per dimension are possible",
    unit="bits outside of [0, 8]",
    warn=0.0,
    fail=0.5,
    cause="no density of 8-bit images is below 0: something is counted twice or not at all, or levels are undithered",
    remedy="dequantize, and count each log-determinant once",
    overrides=(
        "data.dequantizer=uniform",
        "data.count_log_det=true",
    ),
    needs=(*SOUND, log_likelihoods_are_finite, log_det_is_that_of_the_jacobian),
    is_cheap=True,
    of_trained=True,
)
def bits_are_possible(task: DiagnosisTask) -> Measurement:
    """The uniform model scores 8, and no code of 8-bit images is shorter than 0. Trained flows on MNIST are near 1."""
    if not task.is_discrete:
        raise NotMeasured("these data have no bits per dimension")
    bits = bits_per_dim(task.scores.log_ratio, 0.0, task.flow.dims).mean().item()
    return _too_many(task, bits) if bits > 8 else Measurement(max(-bits, 0.0), f"{bits:.4g} bpd")


def _too_many(task: DiagnosisTask, bits: float) -> Measurement:
    """Return the measurement of more than 8 bits per dimension, with the likeliest cause."""
    size, text = bits - 8, f"{bits:.4g} bpd, which is worse than the uniform model"
    if unsaved := cause_in_unsaved_state(task):
        return Measurement(size, text, *unsaved, is_shown=False)
    remedy = "train longer, or at a lower rate; load weights with strict=True"
    shown = cause_of_many_bits(task, bits)
    return Measurement(size, text, *shown) if shown else Measurement(size, text, MANY_BITS, remedy, is_shown=False)


@check(
    "a tenth of a level of noise costs little",
    unit="nats per dimension",
    warn=1.0,
    fail=3.0,
    cause="the density consists of spikes narrower than a grey level",
    remedy="dequantize: x = (v + u) / 256 with u in (0, 1)",
    overrides=("data.dequantizer=uniform",),
    needs=(*SOUND, log_likelihoods_are_finite),
    of_trained=True,
)
def little_noise_costs_little(task: DiagnosisTask) -> Measurement:
    """The fall of log p. Data that are dithered over a whole level hide a tenth of one; the report has more scales."""
    few = task.batch.first(task.batch_size)
    drop = noise_drop(task.flow, few.x, [TENTH_OF_A_LEVEL], task.seed, few.context)
    return Measurement(drop.nats_per_dim[0])


DENSITY = (
    every_log_det_counts,
    no_spikes_on_levels,
    validation_scores_as_training_does,
    bits_are_possible,
    little_noise_costs_little,
)
