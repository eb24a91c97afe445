"""Laws of the latents: is z what the prior says, and does the prior find the data?"""

import math

import torch

from nf_mnist.diagnostics.behaviour import likeness, perturbation_error
from nf_mnist.diagnostics.check import SOUND, Measurement, check_enough, law
from nf_mnist.diagnostics.number_checks import FINITE, FLOAT32
from nf_mnist.diagnostics.task import DiagnosisTask
from nf_mnist.metrics import chi_moments
from nf_mnist.metrics.latents import offenders, projection_distance, radius


@law(
    "the norm of z is that of the prior",
    unit="of the expected norm",
    warn=0.1,
    fail=0.3,
    cause="the flow is not trained yet, or its log-determinant is wrong, which training exploits",
    cure="train longer; if another law of log-determinants is broken, mend that first",
    needs=(*SOUND, FINITE),
    is_cheap=True,
)
def norm_of_z(subject: DiagnosisTask) -> Measurement:
    """The mean norm of 784 standard normals is 27.99; a share of it, since it concentrates whatever the dimension."""
    found, (expected, _) = radius(subject.scores.z), chi_moments(subject.flow.dims)
    return Measurement(abs(found.mean / expected - 1), f"{found.mean:.4g} +- {found.std:.3g}, expected {expected:.4g}")


@law(
    "the norm of z is a shell",
    unit="times the expected deviation",
    warn=4.0,
    fail=8.0,
    cause="images differ in likelihood far more than latents of the prior do: a few lie far out, or training is short",
    cure="model.norm=actnorm model.preprocess=gaussianize, or train longer",
    needs=(*SOUND, FINITE),
    is_cheap=True,
)
def norm_is_a_shell(subject: DiagnosisTask) -> Measurement:
    """Its deviation is 0.707 whatever the number of dimensions; affine flows on MNIST reach up to twice that."""
    check_enough(len(subject.batch.x))
    found, (_, expected) = radius(subject.scores.z), chi_moments(subject.flow.dims)
    return Measurement(found.std / expected)


@law(
    "samples have the norm of the prior",
    unit="of the expected norm",
    warn=0.05,
    fail=0.15,
    cause="sampling draws other latents than the prior's: at another temperature, or on another scale",
    cure="temperature=1.0, and z of the base distribution",
    needs=(*SOUND, FLOAT32),
)
def samples_have_the_norm_of_the_prior(subject: DiagnosisTask) -> Measurement:
    """What samples encode to must be draws of the prior again: their mean norm is known to less than 1%."""
    samples = subject.samples
    check_enough(len(samples.x))
    with torch.no_grad():
        found = radius(subject.flow.encode(samples.x, samples.context))
    expected, _ = chi_moments(subject.flow.dims)
    return Measurement(abs(found.mean / expected - 1), f"{found.mean:.4g}, expected {expected:.4g}")


@law(
    "dimensions of z are standard",
    unit="of the dimensions",
    warn=0.1,
    fail=0.4,
    cause="the flow is not trained yet, or cannot stretch the data to the prior: bounded scales without a logit",
    cure="model.preprocess=logit model.norm=actnorm, or train longer",
    needs=(*SOUND, FINITE),
    is_cheap=True,
)
def dimensions_of_z(subject: DiagnosisTask) -> Measurement:
    """The share whose mean is beyond +-0.5 or whose deviation is outside [0.5, 2]."""
    check_enough(len(subject.batch.x))
    found = offenders(subject.scores.z)
    worst = f"the worst, number {found.worst}, has mean {found.mean:.2g} and deviation {found.std:.2g}"
    return Measurement(found.share, f"{found.share:.2g} of the dimensions; {worst}")


@law(
    "projections of z are normal",
    unit="of Kolmogorov distance",
    warn=0.2,
    fail=0.4,
    cause="z depends on itself across dimensions, or is of another scale than the prior",
    cure="train longer, or a larger model",
    needs=(*SOUND, FINITE),
)
def projections_of_z(subject: DiagnosisTask) -> Measurement:
    """The largest over 64 random lines; a sample of n exact normals has 1.8 / sqrt(n), which is taken off."""
    z = subject.scores.z
    return Measurement(max(projection_distance(z, seed=subject.seed) - 1.8 / math.sqrt(len(z)), 0.0))


@law(
    "nearby latents are nearby images",
    unit="of the deviation of the pixels",
    warn=1.0,
    fail=1.4,
    cause="the inverse magnifies small steps in z: it explodes",
    cure="model.flow.scale_activation=tanh model.norm=actnorm",
    needs=(*SOUND, FLOAT32, FINITE),
)
def nearby_latents(subject: DiagnosisTask) -> Measurement:
    """How far an image moves when 0.1 of noise is added to its latent, root mean square; two unrelated images: 1.4."""
    check_enough(len(subject.batch.x))
    few = subject.batch.first(32)
    moved = perturbation_error(subject.flow, few.x, 0.1, subject.seed, few.context)
    return Measurement(moved / subject.batch.x.var(0).mean().sqrt().item())


@law(
    "fresh samples are like data",
    unit="off in mean or in lit pixels",
    warn=1.0,
    fail=2.0,
    cause="data lie on a thin set where the prior never looks: perturbed latents may still decode well",
    cure="data.dequantizer=uniform model.preprocess=logit, train longer, model=hierarchical",
    needs=(*SOUND, FLOAT32, FINITE),
)
def fresh_samples(subject: DiagnosisTask) -> Measurement:
    """The larger of two effects, both 0 for data.

    How far the mean image is off, in deviations of the pixels (64 images of the data themselves: 0.2), and how many
    times more or fewer pixels are lit, as a logarithm: 1 is e-fold.
    """
    check_enough(len(subject.batch.x))
    found = likeness(subject.samples.x.clamp(0, 1).nan_to_num(0.5), subject.batch.x)
    figure = f"mean image off by {found.mean_error:.2g} deviations, {found.lit_ratio:.2g} times the lit pixels"
    return Measurement(max(found.mean_error, abs(math.log(max(found.lit_ratio, 1e-9)))), figure)
