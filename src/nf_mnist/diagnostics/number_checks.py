"""Laws of numbers: what rounding does to the map, and what its layers do to values."""

import torch

from nf_mnist.diagnostics.check import SOUND, Measurement, NotMeasured, check_enough, first_line, law
from nf_mnist.diagnostics.couplings import largest_log_scale
from nf_mnist.diagnostics.jacobian import stretch
from nf_mnist.diagnostics.layers import WithContext
from nf_mnist.diagnostics.map_checks import INVERSE, SAME
from nf_mnist.diagnostics.norms import magnification, norm_statistics
from nf_mnist.diagnostics.task import DiagnosisTask
from nf_mnist.metrics.round_trip import RoundTrip, round_trip

FINITE, FLOAT32 = "log-likelihoods are finite", "images come back in float32"


@law(
    FINITE,
    unit="of the images",
    warn=0.0,
    fail=0.0,
    cause="scales overflow, or pixels of exactly 0 or 1 meet a logit",
    cure="model.flow.scale_activation=tanh data.dequantizer=uniform, or optimizer.lr=1e-4 with trainer.gradient_clip_val=100",
    needs=("shapes", "inputs are left alone"),
    is_cheap=True,
)
def log_likelihoods_are_finite(subject: DiagnosisTask) -> Measurement:
    """The share of images whose latent or log-likelihood is not a finite number."""
    scores = subject.scores
    finite = scores.log_prob.isfinite() & scores.z.isfinite().all(1)
    return Measurement(1 - finite.double().mean().item())


@law(
    FLOAT32,
    unit="of the pixels come back on another level",
    warn=1e-4,
    fail=0.01,
    cause="the inverse magnifies rounding: scales or normalisations stretch too far",
    cure="model.flow.scale_activation=tanh model.norm=actnorm, or trainer.precision=64-true",
    needs=(*SOUND, INVERSE),
    is_cheap=True,
)
def images_come_back(subject: DiagnosisTask) -> Measurement:
    """Half a level of error changes a pixel; one pixel in 10,000 is one in a dozen images, one in 100 is visible."""
    few = subject.batch.first(32)
    return _changed(round_trip(subject.flow, few.x, few.context))


@law(
    "samples come back in float32",
    unit="of the pixels come back on another level",
    warn=1e-4,
    fail=0.01,
    cause="samples lie where the inverse stretches far more than at data, or where forward saturates",
    cure="model.flow.scale_activation=tanh model.norm=actnorm, or train longer",
    needs=(*SOUND, INVERSE, FLOAT32),
)
def samples_come_back(subject: DiagnosisTask) -> Measurement:
    """As for images."""
    samples = subject.samples.first(32)
    return _changed(round_trip(subject.flow, samples.x, samples.context))


@law(
    "images come back in bfloat16",
    unit="of the pixels come back on another level",
    warn=0.03,
    fail=float("inf"),
    cause="networks in bfloat16 answer differently to values that differ by rounding, and couplings magnify it",
    cure="sample and invert in float32, as the commands do; trainer.precision=32-true for training",
    needs=(*SOUND, INVERSE, FLOAT32),
)
def images_come_back_in_bfloat16(subject: DiagnosisTask) -> Measurement:
    """Training only needs the forward direction, so this is a warning at most."""
    few = subject.batch.first(16)
    return _changed(round_trip(subject.flow, few.x, few.context, "bf16"))


@law(
    "inputs that are no images stay finite",
    unit="of the pixels are not finite or beyond [-1, 2]",
    warn=0.0,
    fail=0.1,
    cause="outside the data scales or normalisations overflow",
    cure="model.flow.scale_activation=tanh, or optimizer.lr=1e-4 with trainer.gradient_clip_val=100",
    needs=(*SOUND, INVERSE, FLOAT32),
)
def inputs_that_are_no_images_stay_finite(subject: DiagnosisTask) -> Measurement:
    """Uniform noise, black and white. A flow owes them nothing but numbers: coming back exactly is not asked for."""
    few = subject.batch.first(16)
    noise = torch.rand(few.x.shape, generator=torch.Generator().manual_seed(subject.seed)).to(few.x)
    noise[0], noise[1] = 0.5 / 256, 255.5 / 256
    with torch.no_grad():
        back = subject.flow.decode(subject.flow.encode(noise, few.context), few.context)
    size = 1 - ((back >= -1) & (back <= 2)).double().mean().item()
    changed = ((back - noise).abs() > 0.5 / 256).double().mean().item()
    return Measurement(size, f"{size:.2g} of the pixels not finite or beyond [-1, 2]; {changed:.2g} on another level")


@law(
    "neither direction explodes",
    unit="decades of stretch",
    warn=7.0,
    fail=10.0,
    cause="a scale or a normalisation divides by nearly nothing: an exploding inverse or forward map",
    cure="model.flow.scale_activation=tanh model.norm=actnorm data.dequantizer=uniform",
    needs=(*SOUND, SAME),
)
def neither_direction_explodes(subject: DiagnosisTask) -> Measurement:
    """The largest singular value of either Jacobian at one image, as a power of ten.

    Float32 has seven digits: a stretch beyond 1e7 makes one unit of rounding a unit of z or of x. A logit alone
    stretches a black pixel by up to 1e5.
    """
    flow, few = subject.precise
    one = few.first(1)
    try:
        found = stretch(WithContext(flow.bijector, one.context), one.x, n_iterations=10)
    except (RuntimeError, NotImplementedError) as error:
        raise NotMeasured(f"autograd cannot take products with this Jacobian: {first_line(error)}") from error
    size = torch.tensor(found).clamp(min=1e-300).log10().max().item()
    return Measurement(size, f"forward {found.forward:.2g}, inverse {found.inverse:.2g}")


@law(
    "scales are bounded",
    unit="of log-scale",
    warn=10.0,
    fail=float("inf"),
    cause="nothing bounds the log-scales of the couplings: one outlier makes the loss nan or the inverse explode",
    cure="model.flow.scale_activation=tanh, or model.flow.scale_activation=soft_clamp",
    needs=(),
    is_cheap=True,
)
def scales_are_bounded(subject: DiagnosisTask) -> Measurement:
    """What the couplings make of a raw log-scale of 100: e^10 in one layer is beyond what any image needs."""
    largest = largest_log_scale(subject.flow)
    if largest is None:
        raise NotMeasured("there are no affine couplings")
    return Measurement(largest, f"a raw log-scale of 100 becomes {largest:.3g}")


@law(
    "running statistics fit the data",
    unit="standard deviations",
    warn=1.0,
    fail=3.0,
    cause="BatchNorm's running statistics lag behind the weights, never saw data, or started at zero",
    cure="callbacks=recompute_statistics or model.norm=actnorm",
    needs=SOUND,
    is_cheap=True,
)
def running_statistics_fit(subject: DiagnosisTask) -> Measurement:
    """A batch of training images against running statistics, root mean square over the channels of the worst layer.

    In running standard deviations, or as a logarithm of their ratio. A batch of 100 is off by 0.1; a whole deviation,
    layer upon layer, is another flow than the one that was trained.
    """
    few = (subject.train or subject.batch).first(subject.batch_size)
    found = norm_statistics(subject.flow, few.x, few.context)
    if not found:
        raise NotMeasured("no layer has running statistics")
    check_enough(len(few.x))
    worst = max(found, key=lambda one: max(one.shift, one.ratio))
    figure = f"mean off by {worst.shift:.2g}, log of the deviation by {worst.ratio:.2g}, in {worst.name}"
    return Measurement(max(worst.shift, worst.ratio), figure)


@law(
    "normalisation does not magnify",
    unit="times",
    warn=30.0,
    fail=100.0,
    cause="dimensions that are constant in the data have a variance near eps: a rare other value is blown up",
    cure="data.dequantizer=uniform, or model.flow.norm.policy=running",
    needs=(),
    is_cheap=True,
)
def normalisation_does_not_magnify(subject: DiagnosisTask) -> Measurement:
    """The largest factor of a BatchNorm or ActNorm of the flow: a variance at the floor of 1e-5 makes it 316."""
    found = magnification(subject.flow)
    if found is None:
        raise NotMeasured("there are no normalisations in the flow")
    figure = f"{found.factor:.3g} times in {found.name}, {found.n_near_floor} variances near the floor"
    return Measurement(found.factor, figure)


def _changed(found: RoundTrip) -> Measurement:
    return Measurement(
        found.changed, f"{found.changed:.2g} of the pixels, the largest error {found.largest:.2g} levels"
    )
