"""Laws of the density: is the figure a likelihood, is it bounded, does it hold on images never seen?"""

import torch

from nf_mnist.data import UniformDequantizer, evaluation_noise, to_levels
from nf_mnist.diagnostics.behaviour import noise_drop
from nf_mnist.diagnostics.check import SOUND, Measurement, NotMeasured, check_enough, law
from nf_mnist.diagnostics.data_checks import FREQUENT
from nf_mnist.diagnostics.likelihood import generalisation_gap, most_frequent_share, undithered_gain
from nf_mnist.diagnostics.map_checks import JACOBIAN
from nf_mnist.diagnostics.number_checks import FINITE
from nf_mnist.diagnostics.task import DiagnosisTask
from nf_mnist.metrics import bits_per_dim
from nf_mnist.metrics.likelihood import silent_layers

NOISE_SCALES = (1e-5, 1e-4, 0.1 / 256, 1e-3, 1 / 256, 0.01, 0.03, 0.1)
TENTH_OF_A_LEVEL = 0.1 / 256


@law(
    "every log-determinant counts",
    unit="logits not counted",
    warn=0.0,
    fail=0.0,
    cause="the logit's log-determinant is left out: the figure is a density of logits, not of images, and has no bits",
    cure="data.count_log_det=true",
    needs=(),
    is_cheap=True,
)
def every_log_det_counts(subject: DiagnosisTask) -> Measurement:
    """Leaving the logit out is worth some 2 nats for each dimension.

    It is allowed where the data have no bits per dimension anyway, as in CP3's protocol.
    """
    silent = silent_layers(subject.flow)
    if silent and not subject.is_discrete:
        return Measurement(0.0, f"{len(silent)} logits not counted, by the protocol of these data: nats of logits")
    return Measurement(float(len(silent)))


@law(
    "no spikes on grey levels",
    unit="nats per dimension",
    warn=1.0,
    fail=3.0,
    cause="the flow was trained on undithered levels: it puts spikes on them, whose height has no bound",
    cure="data.dequantizer=uniform",
    needs=(*SOUND, FINITE),
)
def no_spikes_on_levels(subject: DiagnosisTask) -> Measurement:
    """How much denser images are without dither than with it.

    A Gaussian fitted to the box of a level gains 0.5 nats at its middle; a spike gains without bound.
    """
    few = subject.batch.first(subject.batch_size)
    if not torch.equal(to_levels(few.x), few.levels):
        raise NotMeasured("these data are no dithered levels")
    dithered = few.x
    if most_frequent_share(dithered) > FREQUENT:
        noise = evaluation_noise(torch.arange(len(few.x)), tuple(few.x.shape[1:]), 0, subject.seed)
        dithered = UniformDequantizer()(few.levels, noise.to(few.x.device))[0].to(few.x)
    return Measurement(undithered_gain(subject.flow, few.levels, dithered, few.context))


@law(
    "validation scores as training does",
    unit="bits per dimension",
    warn=0.1,
    fail=0.5,
    cause="the flow overfits",
    cure="fewer steps (the best checkpoint is kept as best.ckpt), a smaller model, or a larger optimizer.weight_decay",
    needs=(*SOUND, FINITE),
)
def validation_scores_as_training_does(subject: DiagnosisTask) -> Measurement:
    """A tenth of a bit is more than lies between neighbours in any published table."""
    train = subject.train_scores
    if train is None:
        raise NotMeasured("there are no training images")
    check_enough(min(len(train.z), len(subject.batch.x)))
    gap = generalisation_gap(train.log_ratio, subject.scores.log_ratio, subject.flow.dims)
    figure = f"{gap.mean:.3g} bits per dimension, of the medians {gap.median:.3g}"
    if gap.median < 0.2 * gap.mean:
        cause = "a few images explode: dimensions that hardly vary are magnified layer upon layer (flow BatchNorm)"
        cure = "data.dequantizer=uniform, or model.flow.norm.policy=running"
        return Measurement(gap.mean, figure, cause, cure)
    return Measurement(gap.mean, figure)


@law(
    "bits per dimension are possible",
    unit="bits outside of [0, 8]",
    warn=0.0,
    fail=0.5,
    cause="no density of 8-bit images is below 0: something is counted twice or not at all, or levels are undithered",
    cure="data.dequantizer=uniform data.count_log_det=true",
    needs=(*SOUND, FINITE, JACOBIAN),
    is_cheap=True,
)
def bits_are_possible(subject: DiagnosisTask) -> Measurement:
    """The uniform model scores 8, and no code of 8-bit images is shorter than 0; trained flows on MNIST lie near 1."""
    if not subject.is_discrete:
        raise NotMeasured("these data have no bits per dimension")
    bits = bits_per_dim(subject.scores.log_ratio, 0.0, subject.flow.dims).mean().item()
    size = max(-bits, bits - 8)
    if bits > 8:
        cause = (
            "worse than the uniform model: untrained, diverged, on other data, or not all of it is in the checkpoint"
        )
        cure = "train longer, optimizer.lr=1e-4, callbacks=recompute_statistics"
        return Measurement(size, f"{bits:.4g} bpd", cause, cure)
    return Measurement(max(size, 0.0), f"{bits:.4g} bpd")


@law(
    "a tenth of a level of noise costs little",
    unit="nats per dimension",
    warn=1.0,
    fail=3.0,
    cause="the density consists of spikes narrower than a grey level",
    cure="data.dequantizer=uniform",
    needs=(*SOUND, FINITE),
)
def little_noise_costs_little(subject: DiagnosisTask) -> Measurement:
    """Data that are dithered over a whole level cannot tell a tenth of one; the report shows more scales."""
    few = subject.batch.first(subject.batch_size)
    drop = noise_drop(subject.flow, few.x, [TENTH_OF_A_LEVEL], subject.seed, few.context)
    return Measurement(drop.nats_per_dim[0])
