"""Bugs that people really make, planted in a correct flow.

A fault takes a correct, trained flow, such as ``healthy_flow("multiscale")``, which has every kind of layer. It leaves
this flow unchanged and returns what a user has who made the mistake. The docstring of the fault says what the user did;
:data:`TRUTH` says what is wrong in consequence.
"""

import copy
import math

import torch
from torch import Tensor, nn

from benchmarks.diagnosis import faulty_layers as layers
from benchmarks.diagnosis import faulty_log_dets as log_dets
from benchmarks.diagnosis.healthy_flows import FLAT, couplings, multiscale, small_images
from benchmarks.diagnosis.planting import Fault, Planted, planted, replaced, trained_on
from nf_mnist.bijectors import ActNorm, AffineCoupling, BatchNorm, Flatten, Logit, Sequential
from nf_mnist.data import NoDequantizer, UniformDequantizer
from nf_mnist.flows import Flow


class DitherInWrongUnits(UniformDequantizer):
    """Dithers over one 256th of a level."""

    def __call__(self, levels: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        return super().__call__(levels, noise // 256)


class UncountedScaling(UniformDequantizer):
    """Dithers correctly, but does not count the division by 256."""

    def __call__(self, levels: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        x, log_q = super().__call__(levels, noise)
        return x, 0 * log_q


class Standardized(UniformDequantizer):
    """Dithers correctly, then subtracts the mean of MNIST and divides by its standard deviation."""

    def __call__(self, levels: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        x, log_q = super().__call__(levels, noise)
        return (x - 0.1307) / 0.3081, log_q


def undithered(flow: Flow) -> Planted:
    """Trained on levels / 255, without dequantization."""
    return trained_on(flow, NoDequantizer())


def dither_in_wrong_units(flow: Flow) -> Planted:
    """Scaled the noise for images in [0, 1] and added it to levels, so that it is a 256th as wide as it should be."""
    return trained_on(flow, DitherInWrongUnits())


def uncounted_scaling(flow: Flow) -> Planted:
    """Reported bits per dimension without the division of levels by 256."""
    return planted(flow, UncountedScaling())


def standardized_before_logit(flow: Flow) -> Planted:
    """Left the data loader's Normalize((0.1307,), (0.3081,)) in front of a flow of the unit interval."""
    return planted(flow, Standardized())


def uncounted_logit(flow: Flow) -> Planted:
    """Took the logit for preprocessing, of which the likelihood need not know."""
    flow = copy.deepcopy(flow)
    for layer in flow.modules():
        if isinstance(layer, Logit):
            layer.count_log_det = False
    return planted(flow)


def statistics_of_the_batch(flow: Flow) -> Planted:
    """Built the conditioners' BatchNorm with track_running_stats=False."""
    flow = copy.deepcopy(flow)
    for layer in flow.modules():
        if isinstance(layer, nn.BatchNorm1d):
            layer.running_mean = layer.running_var = None  # as track_running_stats=False leaves them
    return planted(flow)


def collapsed_latents(flow: Flow) -> Planted:
    """Trained with log-determinants averaged over the event and a base summed over it, then replaced mean by sum."""
    flow = copy.deepcopy(flow)
    flow.bijector.__class__ = log_dets.TotalMeanOverDims
    case = trained_on(flow)
    case.flow.bijector.__class__ = Sequential
    return case


def overfitted(flow: Flow) -> Planted:
    """Left the subset of 32 images for a quick try in the settings of the training."""
    return trained_on(flow, levels=small_images(flow.event_shape[-1]).train[:32])


def unbounded_scale(flow: Flow) -> Planted:
    """Took the tanh off the scale networks; with last layers that begin at zero the training went well nevertheless."""
    torch.manual_seed(0)
    flow = multiscale("none")
    for layer in flow.modules():
        if isinstance(layer, AffineCoupling):
            assert isinstance(layer.scale_net, nn.Sequential)
            for parameter in layer.scale_net[-2].parameters():
                nn.init.zeros_(parameter)
    return trained_on(flow)


def runaway_scales(flow: Flow) -> Planted:
    """Let the scales of two layers run away against each other, without bound or weight decay."""
    flow = copy.deepcopy(flow)
    shrinking, growing = ActNorm(FLAT), ActNorm(FLAT)
    with torch.no_grad():
        shrinking.log_scale.fill_(-12)
        shrinking.shift.fill_(1)
        growing.log_scale.fill_(12)
        growing.shift.fill_(-math.exp(12))
    flow.bijector = Sequential([flow.bijector, shrinking, growing])
    return planted(flow.eval())


def no_variance_floor(flow: Flow) -> Planted:
    """Normalised the pixels by BatchNorm with eps=1e-12, and took momentum for the weight of the old statistics."""
    torch.manual_seed(0)
    shape, dims = (1, 14, 14), (196,)
    norms = (BatchNorm(dims, momentum=0.9, eps=1e-12) for _ in range(3))
    pairs = [layer for norm in norms for layer in (norm, *couplings(dims, "even_odd"))]
    return trained_on(Flow(Sequential([Flatten(shape), *pairs]), shape))


# the faults, and what is wrong in consequence of each
CASES: dict[str, tuple[Fault, str]] = {
    "log_det_without_mask": (replaced(log_dets.LogDetWithoutMask), "log-determinant forgets the mask"),
    "log_det_of_wrong_sign": (replaced(log_dets.LogDetOfWrongSign), "a layer's log-determinant has the wrong sign"),
    "log_det_mean_over_dims": (replaced(log_dets.LogDetMeanOverDims), "log-determinant is averaged over dimensions"),
    "log_det_mean_over_batch": (replaced(log_dets.LogDetMeanOverBatch), "log-determinant is averaged over the batch"),
    "log_det_without_pixels": (replaced(log_dets.LogDetWithoutPixels), "log-determinant is counted once a channel"),
    "log_det_of_rest_twice": (replaced(log_dets.LogDetOfRestTwice), "log-determinant of the rest is counted twice"),
    "log_det_overwritten": (replaced(log_dets.LogDetOverwritten), "only the last layer's log-determinant is counted"),
    "log_det_in_float32": (replaced(log_dets.LogDetInFloat32), "log-determinant is float32 for float64 input"),
    "log_det_detached": (replaced(log_dets.LogDetDetached), "no gradient flows through the log-determinant"),
    "inverse_log_det_of_forward": (
        replaced(log_dets.InverseLogDetOfForward),
        "log-determinant of the inverse has the wrong sign",
    ),
    "logit_without_margin": (replaced(log_dets.LogitWithoutMargin), "scaling by 1 - 2a is not in the log-determinant"),
    "uncounted_logit": (uncounted_logit, "logit is not in the log-determinant"),
    "clamped_logit": (replaced(layers.ClampedLogit), "not injective: values near 0 and 1 are clamped to one value"),
    "logit_in_place": (replaced(layers.LogitInPlace), "the input is changed by the call"),
    "permutation_applied_twice": (replaced(layers.PermutationAppliedTwice), "inverse permutes by the wrong order"),
    "permutation_redrawn": (replaced(layers.PermutationRedrawn), "the map is random: another permutation in each call"),
    "squeeze_in_another_order": (replaced(layers.SqueezeInAnotherOrder), "inverse of squeeze puts pixels elsewhere"),
    "shift_after_scale": (replaced(layers.ShiftAfterScale), "inverse of the coupling is wrong: shift is not rescaled"),
    "conditioner_sees_all": (
        replaced(layers.ConditionerSeesAll),
        "coupling depends on what it transforms: no inverse, and the log-determinant is not the Jacobian's",
    ),
    "coupling_with_cache": (replaced(layers.CouplingWithCache), "inverse uses values left by another call"),
    "coupling_in_bfloat16": (replaced(layers.CouplingInBFloat16), "couplings compute in too low a precision"),
    "batchnorm_always_updating": (replaced(layers.BatchNormAlwaysUpdating), "evaluation changes running statistics"),
    "actnorm_without_memory": (replaced(layers.ActNormWithoutMemory), "the first evaluation overwrites parameters"),
    "split_redraws_latents": (replaced(layers.SplitRedrawsLatents), "inverse ignores part of the latents, is random"),
    "split_drops_latents": (replaced(layers.SplitDropsLatents), "inverse ignores part of the latents"),
    "dropout_always": (replaced(layers.DropoutAlways), "the map is random: dropout is active in evaluation"),
    "statistics_of_the_batch": (statistics_of_the_batch, "images of a batch affect each other in evaluation"),
    "flow_always_training": (replaced(layers.FlowAlwaysTraining), "evaluation is done in training mode"),
    "unnormalized_base": (
        replaced(layers.UnnormalizedBase),
        "density does not integrate to 1: base lacks a constant",
    ),
    "uniform_base": (replaced(layers.UniformBase), "samples are drawn from latents that are not standard normal"),
    "undithered": (undithered, "images are not dequantized, so the density has no bound"),
    "dither_in_wrong_units": (dither_in_wrong_units, "dither is far narrower than a level, so the bound is void"),
    "uncounted_scaling": (uncounted_scaling, "scaling of levels to the unit interval is not counted"),
    "standardized_before_logit": (standardized_before_logit, "data lie outside the unit interval that the logit takes"),
    "collapsed_latents": (collapsed_latents, "latents are far narrower than a standard normal"),
    "overfitted": (overfitted, "the flow fits its few training images and no others"),
    "unbounded_scale": (unbounded_scale, "log-scales have no bound: inputs unlike the training images overflow"),
    "runaway_scales": (runaway_scales, "ill-conditioned: a scale near 0 and one near infinity lose float32's digits"),
    "no_variance_floor": (
        no_variance_floor,
        "variance of near-constant pixels has no floor: rare values magnified",
    ),
}
FAULTS = {name: fault for name, (fault, _) in CASES.items()}
TRUTH = {name: truth for name, (_, truth) in CASES.items()}
