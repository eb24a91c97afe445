"""Checks of what stretches values: scales of couplings, and normalisations."""

import math

from nf_mnist.diagnostics.base import Measurement, NotMeasured, check, require_images
from nf_mnist.diagnostics.checks.contract import SOUND
from nf_mnist.diagnostics.measures.norms import magnification, norm_statistics
from nf_mnist.diagnostics.task import DiagnosisTask

MAGNIFIED = 100.0  # times; a dimension of grey levels has at least a hundredth of the width of all
HUGE = 100.0  # raw log-scale that no healthy network predicts


@check(
    "scales are bounded",
    unit="of log-scale",
    warn=10.0,
    fail=math.inf,
    is_usual=True,
    cause="nothing bounds the log-scales of the couplings: one outlier makes the loss nan or the inverse explode",
    remedy="bound the log-scales by a tanh or an arctangent",
    overrides=("model.flow.scale_activation=tanh",),
    needs=(),
    is_cheap=True,
)
def scales_are_bounded(task: DiagnosisTask) -> Measurement:
    """The log-scale that couplings make of a raw one of 100. No image needs more than e^10 in one layer."""
    largest = task.flow.bijector.largest_log_scale(HUGE)
    if largest is None:
        raise NotMeasured("no layer says how it bounds its scales")
    return Measurement(largest, f"a raw log-scale of {HUGE:g} becomes {largest:.3g}")


@check(
    "running statistics fit the data",
    unit="standard deviations",
    warn=1.0,
    fail=3.0,
    cause="BatchNorm's running statistics lag behind the weights, never saw data, or started at zero",
    remedy="recompute the statistics on the training set before evaluation, or normalise by ActNorm",
    overrides=("callbacks=recompute_statistics",),
    needs=SOUND,
    is_cheap=True,
    of_trained=True,
)
def running_statistics_fit(task: DiagnosisTask) -> Measurement:
    """A batch of training images against running statistics, root mean square over the channels of the worst layer.

    The mean is compared in running standard deviations, the deviation by the logarithm of the ratio. In a batch of
    100, chance alone is 0.1. A whole deviation in layer after layer is no longer the flow that was trained.
    """
    few = (task.train or task.batch).first(task.batch_size)
    statistics = norm_statistics(task.flow, few.x, few.context)
    if not statistics:
        raise NotMeasured("no layer has running statistics")
    require_images(len(few.x))
    worst = max(statistics, key=lambda layer: max(layer.shift, layer.ratio))
    text = f"mean off by {worst.shift:.2g}, log of the deviation by {worst.ratio:.2g}, in {worst.name}"
    return Measurement(max(worst.shift, worst.ratio), text)


@check(
    "normalisation does not magnify",
    unit="times",
    warn=30.0,
    fail=MAGNIFIED,
    cause="dimensions that are constant in the data have a variance near eps: a rare other value is blown up",
    remedy="dequantize, begin with a logit, which spreads dark pixels, or normalise by running statistics in training",
    overrides=(
        "data.dequantizer=uniform",
        "model.preprocess=logit",
        "model.flow.norm.policy=running",
    ),
    needs=(),
    is_cheap=True,
)
def normalisation_does_not_magnify(task: DiagnosisTask) -> Measurement:
    """The largest factor of a BatchNorm or ActNorm in the flow. A variance at the floor of 1e-5 makes it 316.

    Where no variance is within ten times the floor, a factor of up to 100 is that of narrow data, and counts as 0.
    """
    largest = magnification(task.flow)
    if largest is None:
        raise NotMeasured("there are no normalisations in the flow")
    text = f"{largest.factor:.3g} times in {largest.name}, {largest.n_near_floor} variances near the floor"
    is_narrow = not largest.n_near_floor and largest.factor <= MAGNIFIED
    return Measurement(0.0 if is_narrow else largest.factor, text)


SCALES = (
    scales_are_bounded,
    running_statistics_fit,
    normalisation_does_not_magnify,
)
