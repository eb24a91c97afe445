"""Why images need more bits than under the uniform model: the first cause that an experiment shows or makes likely."""

import torch
from torch import Tensor

from nf_mnist.diagnostics.access.batch import Batch
from nf_mnist.diagnostics.access.layers import innermost_layers
from nf_mnist.diagnostics.causes.values import Cause
from nf_mnist.diagnostics.measures.tails import beyond_bounds
from nf_mnist.diagnostics.measures.weights import constants_not_saved, random_permutations_not_saved
from nf_mnist.diagnostics.task import DiagnosisTask
from nf_mnist.flows import StandardNormal
from nf_mnist.metrics import bits_per_dim

NEARLY = 0.05  # relative difference of bits per dimension
MOST = 0.5  # of the values that layers transform
N_LOOKED_AT = 32  # images
STILL = 1e-6  # nats, below which a log-determinant is 0
WIDE = 2.0  # deviations of the base, beyond which latents are too wide


def cause_of_many_bits(task: DiagnosisTask, bits: float) -> Cause | None:
    """Return why images need more bits than under the uniform model; None if no experiment shows it.

    Args:
        task: The flow and its images.
        bits: What the images need, in bits per dimension.
    """
    if wide := _cause_in_wide_latents(task):
        return wide
    layer, share = beyond_bounds(task.flow, task.batch.first(N_LOOKED_AT))
    if share > MOST:
        return Cause(
            f"{share:.0%} of the values lie beyond the bounds within which {layer} changes them, as those of a spline: "
            "it leaves them as they are and cannot learn them",
            "standardise the values before the splines, as by ActNorm after the logit, or widen the bounds",
        )
    if still := _cause_in_constant_volume(task):
        return still
    plain = bits_of_a_logit_alone(task.batch)
    if abs(bits - plain) < NEARLY * plain:
        return Cause(
            f"the flow does hardly more than a logit and a standard normal alone, {plain:.4g} bpd: its weights are "
            "nearly the initial ones, as of a moving average that has just begun",
            "train longer; for a moving average, a decay that fits the steps",
        )
    return None


def cause_in_unsaved_state(task: DiagnosisTask) -> Cause | None:
    """Return that weights may not fit what is not saved: a permutation, or statistics at 0 or 1; None if all is."""
    if not task.weights.moved:
        return None
    what = [f"{name} is a random permutation" for name in random_permutations_not_saved(task.flow)]
    what += [
        f"{name} is {number:g} everywhere, as before training,"
        for name, number in constants_not_saved(task.flow).items()
    ]
    if not what:
        return None
    return Cause(
        f"weights may not fit the flow: {what[0]} and not in state_dict()",
        "register_buffer for permutations that are drawn, and for statistics of the data",
    )


def _cause_in_wide_latents(task: DiagnosisTask) -> Cause | None:
    """Return that latents are too wide by one factor, if images need few bits when they are divided by it."""
    scores, dims = task.scores, task.flow.dims
    if not task.prior.is_gaussian:
        return None
    z = task.prior.standardized(scores.z).double()
    width = z.square().mean().sqrt()
    log_det = scores.log_ratio - StandardNormal(dims).log_prob(z)
    narrowed = StandardNormal(dims).log_prob(z / width) + log_det - dims * width.log()
    bits = bits_per_dim(narrowed, 0.0, dims).mean().item()
    if not (width > WIDE and bits < bits_of_one_gaussian(task.batch)):
        return None
    return Cause(
        f"latents are {width:.3g} times as wide as the base, and divided by that they need {bits:.3g} bpd: training "
        f"gave the log-determinant {width.square():.3g} times the weight of the log-density of the base, as a sum over "
        f"{dims} dimensions beside a mean has {dims} times the weight",
        "minimise -(base.log_prob(z) + log_det), both summed over the event, and train anew",
    )


def _cause_in_constant_volume(task: DiagnosisTask) -> Cause | None:
    """Return that no layer with parameters scales anything, if their log-determinants are 0 for all images."""
    few = task.batch.first(N_LOOKED_AT)
    learned = [layer for layer in innermost_layers(task.flow, few) if [*layer.layer.parameters()]]
    with torch.no_grad():
        scaling = [layer for layer in learned if layer.map.forward_and_log_det(layer.x)[1].abs().max() > STILL]
    if len(learned) < 2 or scaling:
        return None
    return Cause(
        f"no layer scales: the log-determinants of all {len(learned)} layers with parameters are 0, as those of "
        "additive couplings, so that latents keep the spread of what the layers before them return",
        "end with a learned scale of each dimension, as NICE does, normalise by ActNorm, or take affine couplings",
    )


def bits_of_a_logit_alone(batch: Batch) -> float:
    """Return the bits per dimension of images under a logit and a standard normal."""
    z, log_det = _logits(batch)
    return bits_per_dim(StandardNormal(z.shape[1]).log_prob(z) + log_det, batch.log_q, z.shape[1]).mean().item()


def bits_of_one_gaussian(batch: Batch) -> float:
    """Return the bits per dimension of images under a logit and one Gaussian, fitted to all pixels: 3.4 for MNIST."""
    z, log_det = _logits(batch)
    standardized = (z - z.mean()) / z.std()
    log_prob = StandardNormal(z.shape[1]).log_prob(standardized) + log_det - z.shape[1] * z.std().log()
    return bits_per_dim(log_prob, batch.log_q, z.shape[1]).mean().item()


def _logits(batch: Batch) -> tuple[Tensor, Tensor]:
    x = batch.x.flatten(1).double().clamp(1e-7, 1 - 1e-7)
    return x.logit(), -(x.log() + (-x).log1p()).sum(1)
