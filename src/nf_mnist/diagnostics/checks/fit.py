"""Checks that images and weights belong to each other, for flows whose map is right.

They come before the checks of numbers and densities, which go wrong in many ways if images or weights are other ones.
"""

import math

import torch
from torch import Tensor

from nf_mnist.diagnostics.access.batch import Batch
from nf_mnist.diagnostics.access.layers import innermost_layers
from nf_mnist.diagnostics.base import Measurement, NotMeasured, check, require_images
from nf_mnist.diagnostics.causes.bits import bits_of_one_gaussian, cause_in_unsaved_state
from nf_mnist.diagnostics.causes.reordering import reordered
from nf_mnist.diagnostics.causes.statistics import with_new_statistics
from nf_mnist.diagnostics.causes.values import cause_in_bare_levels, largest_latent
from nf_mnist.diagnostics.checks.contract import SOUND
from nf_mnist.diagnostics.checks.log_det import log_det_is_that_of_the_jacobian
from nf_mnist.diagnostics.checks.map import inverse_undoes_forward
from nf_mnist.diagnostics.measures.changes import HALVES, SCALES, TURNS, Change, changed, fits, shifts
from nf_mnist.diagnostics.task import DiagnosisTask
from nf_mnist.flows import Flow
from nf_mnist.metrics import bits_per_dim

OTHER_STATISTICS = (
    "running statistics are not those of the data: they lag behind the weights, never saw data, or were not loaded",
    "measure them anew on training images before evaluation, or normalise by ActNorm",
)
N_PAIRED, N_TRIED = 100, 32
MIN_GAIN = 0.005  # bits per dimension that a changed image must gain to count as one that is likelier
ABSURD = 40.0  # bits per dimension; a logit and a standard normal, without any training, need 28
MISPLACED = 1.1  # times the limit, whatever the bits are
CLEARLY_LESS = 0.2  # bits per dimension
UNIFORM = 8.0  # bits per dimension of the uniform model


@check(
    "images lie as those the flow learned",
    unit="of the images are likelier when changed",
    warn=0.8,
    fail=0.8,
    cause="images reach the flow otherwise than in training",
    remedy="read images in training and here by one function",
    needs=(*SOUND, inverse_undoes_forward, log_det_is_that_of_the_jacobian),
)
def images_lie_as_learned(task: DiagnosisTask) -> Measurement:
    """The share of images that are likelier after a change: turned, shifted, inverted, or on another scale.

    Under a trained flow of MNIST some 5% are, and under one that is hardly trained up to 65%. The mean over images
    hardly moves, so each image is compared with itself. A change counts if the median image gains at least 0.005 bits
    per dimension. Images that need more bits than under the uniform model must need fewer, when they are changed, than
    under a logit and one Gaussian for all pixels.
    """
    few = task.batch.first(N_PAIRED)
    require_images(len(few.x))
    if task.is_untrained:
        raise NotMeasured("the flow is not trained")
    bits = _bits(task.log_prob(few), few)
    is_known = bool(bits.median() <= UNIFORM) or not task.is_discrete
    learned = math.inf if is_known else bits_of_one_gaussian(few)
    found: dict[Change, tuple[float, Tensor]] = {}
    for change in _tried(task, few, bits.median().item()):
        after = _bits(task.log_prob(changed(few, change)), few, change)
        gains = bits - after
        if gains.median() >= MIN_GAIN and after.median() <= learned:
            found[change] = (gains > 0).double().mean().item() if is_known else gains.median().item(), after
    if not found:
        if not is_known:
            raise NotMeasured("no change makes these images likely, which need more bits than under the uniform model")
        return Measurement(0.0, "no change makes images likelier")
    best = max(found, key=lambda change: found[change][0])
    after = found[best][1]
    share = (after < bits).double().mean().item()
    how = f"{bits.median():.4g} bpd, then {after.median():.4g}"
    text = f"{share:.2g} of the images are likelier when that is undone: {how}"
    return Measurement(share, text, f"images reach the flow otherwise than in training: they are {best.name}")


@check(
    "weights fit the code and the images",
    unit="times the bits of a flow that is not trained",
    warn=1.0,
    fail=1.0,
    cause="the weights do not fit the code: layers in another order, other settings, or another preprocessing than in "
    "training; or they are a mean of weights far apart, as of a moving average that has just begun; the training "
    "diverged; or a layer divides by almost nothing, as by a deviation without a floor. The map itself is right",
    remedy="load the weights with strict=True into the very code that trained them, and compare log p of some images",
    needs=(*SOUND, inverse_undoes_forward, log_det_is_that_of_the_jacobian, images_lie_as_learned),
)
def weights_fit(task: DiagnosisTask) -> Measurement:
    """The bits per dimension of images over 40, if the weights are not at their initial values.

    A logit and a standard normal need 28 without any training, which only reduces them. Layers are put into another
    order, masks exchanged for their complements and permutations inverted: images must not need 0.2 bits per dimension
    less for it, nor a tenth less.
    """
    if not task.is_discrete:
        raise NotMeasured("these data have no bits per dimension")
    if not task.weights.moved or task.is_untrained:
        raise NotMeasured("it is not known that the weights are trained")
    few = task.batch.first(N_TRIED)
    bits = _bits(task.log_prob(few), few).median().item()
    if math.isinf(bits):
        raise NotMeasured("log-likelihoods are not finite, which another check looks into")
    size, text = max(bits, 0.0) / ABSURD, f"{bits:.4g} bpd"
    if otherwise := _put_together_otherwise(task, few, bits):
        return otherwise._replace(size=max(size, MISPLACED), text=f"{text}{otherwise.text}")
    if bits <= ABSURD:
        return Measurement(size, text)
    if renewed := _with_new_statistics(task, few):
        return renewed._replace(size=size, text=f"{text}{renewed.text}")
    text = f"{text}, as no training leaves them{_where_values_grow(task)}"
    return Measurement(size, text, *(cause_in_bare_levels(task, largest_latent(task)) or ()))


def _put_together_otherwise(task: DiagnosisTask, few: Batch, bits: float) -> Measurement | None:
    """Return how the weights do not fit the code, if images need clearly fewer bits in another order; None if not."""
    after, how = min(((_median_bits(flow, few), how) for how, flow in reordered(task.flow)), default=(math.inf, ""))
    if after >= min(UNIFORM, bits - CLEARLY_LESS, 0.9 * bits):
        return None
    if unsaved := cause_in_unsaved_state(task):  # of which other weights may be right by chance
        return Measurement(MISPLACED, "", *unsaved, is_shown=False)
    remedy = "build the flow that was trained, load each layer by its name, and sort names by their numbers"
    text = f"; {after:.4g} as they were trained"
    return Measurement(MISPLACED, text, f"the weights do not fit the code: {how}", remedy)


def _with_new_statistics(task: DiagnosisTask, few: Batch) -> Measurement | None:
    """Return that running statistics are other ones than the data's, if with these images are likely; None if not."""
    seen = (task.train or task.batch).first(task.batch_size)
    renewed = with_new_statistics(task.flow, seen)
    after = math.inf if renewed is None else _median_bits(renewed, few)
    if after >= UNIFORM:
        return None
    return Measurement(MISPLACED, f"; {after:.4g} with statistics of {len(seen.x)} images", *OTHER_STATISTICS)


@torch.no_grad()
def _median_bits(flow: Flow, few: Batch) -> float:
    """Return the median of the bits per dimension of images; infinite if the flow cannot score them."""
    try:
        return _bits(flow.log_prob(few.x, few.context), few).median().item()
    except Exception:  # a user's layer may fail in any way if it is put together otherwise
        return math.inf


def _where_values_grow(task: DiagnosisTask) -> str:
    """Say in which layer values grow most, if by more than a hundred times; empty otherwise."""
    few = task.batch.first(N_TRIED)
    grown = ("", 100.0)
    with torch.no_grad():
        for layer in innermost_layers(task.flow, few):
            factor = _size(layer.map.forward_and_log_det(layer.x)[0]) / _size(layer.x)
            grown = max(grown, (f"; values grow {factor:.3g} times in {layer.title}", factor), key=lambda pair: pair[1])
    return grown[0]


def _size(values: Tensor) -> float:
    """Return the root mean square of values, at least 1, so that what was nearly 0 counts as small."""
    return max(values.double().square().mean().sqrt().item(), 1.0)


def _tried(task: DiagnosisTask, few: Batch, bits: float) -> list[Change]:
    """Return the changes to try.

    What makes images darker makes them likelier, so that a range is in doubt only if it is the one of the levels. A
    scale is in doubt only if images are very unlikely, since any flow with narrow latents prefers larger images.
    """
    n_levels = len(few.levels.unique())
    tried = [*TURNS, *(one for one in HALVES if len((256 * one.apply(few.levels / 256)).unique()) == n_levels)]
    tried += SCALES if task.is_discrete and bits > 2 * UNIFORM else ()
    if few.x.dim() == 4:
        references = [] if task.train is None else [task.train.x.mean(0)]
        samples = task.samples.x
        references += [samples.mean(0)] if samples.isfinite().all() else []
        tried += [change for reference in references for change in shifts(few.x, reference)]
    return [change for change in tried if fits(change, few.x)]


def _bits(log_prob: Tensor, batch: Batch, change: Change | None = None) -> Tensor:
    """Return bits per dimension of images that are changed or not, shape (n,); infinite where log p is not finite."""
    dims = batch.x[0].numel()
    slope = 0.0 if change is None else change.log_slope
    known = (log_prob.double() + slope * dims).nan_to_num(-math.inf, -math.inf, -math.inf)
    return bits_per_dim(known, batch.log_q, dims)


FIT = (images_lie_as_learned, weights_fit)
