"""Checks of the latents: is z distributed like the prior, and do samples of the prior look like data?"""

import math

import torch

from nf_mnist.diagnostics.base import Measurement, NotMeasured, check, require_images
from nf_mnist.diagnostics.causes.bases import is_logistic
from nf_mnist.diagnostics.causes.bits import cause_in_unsaved_state
from nf_mnist.diagnostics.checks.contract import SOUND
from nf_mnist.diagnostics.checks.numbers import images_come_back, log_likelihoods_are_finite
from nf_mnist.diagnostics.checks.samples import samples_are_finite
from nf_mnist.diagnostics.measures.behaviour import likeness, perturbation_error
from nf_mnist.diagnostics.task import DiagnosisTask
from nf_mnist.metrics.latents import offenders, projection_distance, radius

OFF = 0.05  # of the expected norm
FAR = 0.3  # of the expected norm, by which a healthy flow is never off


@check(
    "the norm of z is that of the prior",
    unit="of the expected norm",
    warn=0.1,
    fail=FAR,
    cause="latents lie at another distance than those of the prior: training was short, the data are other ones, or "
    "the weights are of a flow with other masks or another order",
    remedy="train longer; if a check of log-determinants fails too, fix that first",
    needs=(*SOUND, log_likelihoods_are_finite),
    is_cheap=True,
    of_trained=True,
)
def norm_of_z(task: DiagnosisTask) -> Measurement:
    """The mean norm of 784 standard normals is 27.99. Norms concentrate in any dimension, so the error is relative."""
    prior = task.prior
    norms, expected = radius(prior.standardized(task.scores.z)), prior.norm.mean
    size, text = abs(norms.mean / expected - 1), f"{norms.mean:.4g} +- {norms.std:.3g}, expected {expected:.4g}"
    if size > FAR and (unsaved := cause_in_unsaved_state(task)):
        return Measurement(size, text, *unsaved, is_shown=False)
    if not prior.is_gaussian or not is_logistic(task.scores.z):
        return Measurement(size, text)
    cause = "latents have a standard logistic distribution, as if the flow was trained with that base and not this one"
    remedy = "use the base distribution of the training"
    return Measurement(size, text, cause, remedy, is_shown=False)


@check(
    "the norm of z is a shell",
    unit="times the expected deviation",
    warn=4.0,
    fail=8.0,
    cause="images differ in likelihood far more than latents of the prior do: training is short, a few lie far out, or "
    "the weights are of a flow with other masks or another order",
    remedy="normalise by ActNorm, gaussianize pixels first, or train longer",
    overrides=(
        "model.norm=actnorm",
        "model.preprocess=gaussianize",
    ),
    needs=(*SOUND, log_likelihoods_are_finite),
    is_cheap=True,
    of_trained=True,
)
def norm_is_a_shell(task: DiagnosisTask) -> Measurement:
    """The deviation of the norm is 0.707 in any dimension. Affine flows on MNIST reach up to twice that."""
    require_images(len(task.batch.x))
    prior = task.prior
    norms, expected = radius(prior.standardized(task.scores.z)), prior.norm.std
    return Measurement(norms.std / expected)


@check(
    "samples have the norm of the prior",
    unit="of the expected norm",
    warn=OFF,
    fail=0.15,
    cause="what sampling draws is not what the base distribution says: at another temperature, or on another scale",
    remedy="sample z of the base distribution at temperature 1",
    needs=(*SOUND, images_come_back, samples_are_finite),
    of_trained=True,
)
def samples_have_the_norm_of_the_prior(task: DiagnosisTask) -> Measurement:
    """Encoding samples must give draws of the prior again. Their mean norm is known to less than 1%.

    Samples whose latents are not finite are left out, and those that do not keep off 0 and 1.
    """
    z = task.sample_latents
    kept = z.isfinite().all(1) & ~task.saturated_samples
    if not kept.any():
        raise NotMeasured("no sample has a finite latent of the prior")
    require_images(int(kept.sum()))
    norms = radius(task.prior.standardized(z[kept]))
    expected, n_left_out = task.prior.norm.mean, int((~kept).sum())
    text = f"{norms.mean:.4g}, expected {expected:.4g}"
    text += f"; {n_left_out} of {len(z)} samples are left out" if n_left_out else ""
    size = abs(norms.mean / expected - 1)
    if size > OFF and (moved := _moved_by_sampling(task)) > 1:
        cause = f"sampling decodes latents otherwise than the inverse does, by {moved:.2g} grey levels in the mean"
        return Measurement(size, text, cause, "take as many steps in sampling as the inverse takes, or one function")
    return Measurement(size, text)


@torch.no_grad()
def _moved_by_sampling(task: DiagnosisTask) -> float:
    """Return by how many grey levels, in the mean, samples differ from what the inverse makes of the same latents.

    It is 0 if latents of samples are a multiple of those that were drawn, as at another temperature.
    """
    flow, samples, found = task.flow, task.samples, task.sample_latents
    z = flow.base.sample(len(samples.x), torch.Generator().manual_seed(task.seed)).to(samples.x)
    multiple = (found * z).sum() / z.square().sum()
    if (found - multiple * z).norm() <= OFF * found.norm():
        return 0.0
    return (flow.decode(z, samples.context) - samples.x).abs().mean().item() * 256


@check(
    "dimensions of z are standard",
    unit="of the dimensions",
    warn=0.1,
    fail=0.4,
    cause="training was short, or the flow cannot stretch the data to the prior: bounded scales without a logit",
    remedy="begin with a logit, normalise by ActNorm, or train longer",
    overrides=(
        "model.preprocess=logit",
        "model.norm=actnorm",
    ),
    needs=(*SOUND, log_likelihoods_are_finite),
    is_cheap=True,
    of_trained=True,
)
def dimensions_of_z(task: DiagnosisTask) -> Measurement:
    """The share of dimensions whose mean is beyond +-0.5 or whose standard deviation is outside [0.5, 2]."""
    require_images(len(task.batch.x))
    off = offenders(task.prior.standardized(task.scores.z))
    worst = f"the worst, number {off.worst}, has mean {off.mean:.2g} and deviation {off.std:.2g}"
    return Measurement(off.share, f"{off.share:.2g} of the dimensions; {worst}")


@check(
    "projections of z are normal",
    unit="of Kolmogorov distance",
    warn=0.2,
    fail=0.4,
    cause="dimensions of z depend on each other, or z is on another scale than the prior",
    remedy="train longer, or a larger model",
    needs=(*SOUND, log_likelihoods_are_finite),
    of_trained=True,
)
def projections_of_z(task: DiagnosisTask) -> Measurement:
    """The largest distance over 64 random lines, less 1.8 / sqrt(n), which n exact normals have by chance."""
    if not task.prior.is_gaussian:
        raise NotMeasured("the base distribution is no Gaussian")
    z = task.prior.standardized(task.scores.z)
    return Measurement(max(projection_distance(z, seed=task.seed) - 1.8 / math.sqrt(len(z)), 0.0))


@check(
    "nearby latents are nearby images",
    unit="of the deviation of the pixels",
    warn=1.0,
    fail=1.4,
    cause="the inverse magnifies small steps in z: it explodes",
    remedy="bound the log-scales, and normalise by ActNorm",
    overrides=(
        "model.flow.scale_activation=tanh",
        "model.norm=actnorm",
    ),
    needs=(*SOUND, images_come_back, log_likelihoods_are_finite),
    of_trained=True,
)
def nearby_latents(task: DiagnosisTask) -> Measurement:
    """The root mean square change of an image whose latent gets noise of 0.1. Two unrelated images differ by 1.4."""
    require_images(len(task.batch.x))
    few = task.batch.first(32)
    change = perturbation_error(task.flow, few.x, 0.1, task.seed, few.context)
    return Measurement(change / task.batch.x.var(0).mean().sqrt().item())


@check(
    "fresh samples are like data",
    unit="off in mean or in lit pixels",
    warn=1.0,
    fail=2.0,
    cause="the prior puts its samples elsewhere than data lie; why is not known. Short training is the usual reason",
    remedy="train longer; dequantize, and begin with a logit",
    overrides=(
        "data.dequantizer=uniform",
        "model.preprocess=logit",
    ),
    needs=(*SOUND, images_come_back, log_likelihoods_are_finite, samples_are_finite),
    of_trained=True,
)
def fresh_samples(task: DiagnosisTask) -> Measurement:
    """The larger of two differences between samples and data, both near 0 for data themselves.

    The first is that of the mean images, in standard deviations of the pixels (0.2 for 64 real images). The second is
    the logarithm of the ratio of lit pixels, where 1 is a factor of e.
    """
    require_images(len(task.batch.x))
    alike = likeness(task.samples.x.clamp(0, 1), task.batch.x)
    text = f"mean image off by {alike.mean_error:.2g} deviations, {alike.lit_ratio:.2g} times the lit pixels"
    return Measurement(max(alike.mean_error, abs(math.log(max(alike.lit_ratio, 1e-9)))), text)


LATENT = (
    norm_of_z,
    norm_is_a_shell,
    samples_have_the_norm_of_the_prior,
    dimensions_of_z,
    projections_of_z,
    nearby_latents,
    fresh_samples,
)
