"""Checks of the map: its inverse, its log-determinant, and the density and gradients that follow from them."""

import torch
from torch import Tensor

from nf_mnist.diagnostics.access.batch import Batch
from nf_mnist.diagnostics.access.invertible import Invertible, decoded_again
from nf_mnist.diagnostics.access.isolation import seeded
from nf_mnist.diagnostics.access.layers import WithContext, first_layer
from nf_mnist.diagnostics.base import Measurement, NotMeasured, check, worst
from nf_mnist.diagnostics.causes.bases import wrong_base
from nf_mnist.diagnostics.causes.experiments import errors_of_corrections, is_solver, shrinks
from nf_mnist.diagnostics.causes.inverses import cause_of_wrong_inverse
from nf_mnist.diagnostics.causes.label_experiments import cause_in_labels, cause_in_labels_of_a_layer
from nf_mnist.diagnostics.causes.solvers import cause_in_coarse_steps
from nf_mnist.diagnostics.checks.contract import SOUND, calls_are_independent, same_input_same_output
from nf_mnist.diagnostics.checks.data import data_lie_in_the_unit_interval
from nf_mnist.diagnostics.checks.log_det import (
    HOW_BIASED,
    biased_estimate,
    log_det_is_that_of_the_jacobian,
    wrong_direction,
)
from nf_mnist.diagnostics.measures.rounding import log_dets_round_to
from nf_mnist.diagnostics.task import N_PRECISE, DiagnosisTask
from nf_mnist.flows import Flow

HARMLESS = 1e-3  # grey levels
SOLVER = 1e3  # an inverse that iterates may be less exact by this factor
NEGLIGIBLE = 0.05  # grey levels that an inverse may be off if it iterates; half a level changes a pixel


BIASED_BEFORE = (
    "the estimate of the log-determinant has a bias, so that training made the map steeper than its inverse can "
    f"follow: {HOW_BIASED}",
    "draw probes of mean 0 and variance 1, such as random signs, and weigh terms by their probability; then train anew",
)
IN_FULL = "add up log-determinants in the dtype of x, without autocast, half() and bfloat16()"


@check(
    "inverse undoes forward",
    unit="grey levels, in float64",
    warn=HARMLESS,
    fail=HARMLESS,
    cause="the two directions do not belong together; why is not known. Frequent reasons: they compute different "
    "parameters, the inverse undoes layers in another order, or one direction clips",
    remedy="let both directions call one function for their parameters",
    needs=(*SOUND, same_input_same_output, calls_are_independent, data_lie_in_the_unit_interval),
)
def inverse_undoes_forward(task: DiagnosisTask) -> Measurement:
    """Rounding in float64 is 1e-16, and 6e-8 where a part is computed in float32. A wrong inverse is off by more.

    An inverse that iterates may be off by 0.05 grey levels, as a bisection that ends at a tolerance is. Beyond that it
    may be less exact by a factor of 1000, if correcting it or finer steps make it more exact. The weights of an
    untrained flow are moved off their initial values, which hide faults.
    """
    return worst([_round_trip(task, flow, task.precise[1]) for flow in task.variants])


@torch.no_grad()
def worst_round_trip(task: DiagnosisTask, n: int) -> Measurement:
    """Return by how many grey levels the worst of the first n images are off in float64, and why."""
    flow, many = task.precise[0], task.precise_batch(n)
    z, _ = flow.bijector.forward_and_log_det(many.x, many.context)
    errors = (flow.bijector.inverse_and_log_det(z, many.context)[0] - many.x).abs().flatten(1).amax(1)
    return _round_trip(task, flow, many.rows(errors.argsort(descending=True)[:N_PRECISE]))


def _round_trip(task: DiagnosisTask, flow: Flow, few: Batch) -> Measurement:
    whole = WithContext(flow.bijector, few.context)
    with torch.no_grad():
        z, _ = whole.forward_and_log_det(few.x)
        largest = (whole.inverse_and_log_det(z)[0] - few.x).abs().max().item() * 256
    size, text = largest / task.slack, f"{largest:.2g} grey levels in {_precision(few.x)}"
    if size <= HARMLESS:
        return Measurement(size, text)
    if is_solver(whole, few.x):
        if largest <= NEGLIGIBLE:
            return Measurement(0.0, f"{text}, by a solver")
        coarse = cause_in_coarse_steps(whole, few.x)
        if coarse or shrinks(errors_of_corrections(whole, few.x)):
            size, text = size / SOLVER, f"{text}, by a solver"
        if coarse or size <= HARMLESS:
            return Measurement(size, text, *(coarse or ()))
    reached = first_layer(flow.bijector, few.x, few.context, _does_not_come_back)
    text += "" if reached is None else f"; in {reached.title}"
    if flow.n_classes and few.context is not None:
        in_a_layer = "" if reached is None else cause_in_labels_of_a_layer(flow, few.x[:1], reached.name)
        if labels := in_a_layer or cause_in_labels(flow, few.x[:1]):
            return Measurement(size, text, labels, "pass the same context to the same networks in both directions")
    if task.is_estimate and (biased := biased_estimate(whole, few.x)):
        return Measurement(size, f"{text}; {biased}", *BIASED_BEFORE)
    cause = cause_of_wrong_inverse(*((whole, few.x) if reached is None else (reached.map, reached.x)))
    return Measurement(size, text, *(cause or ()))


@check(
    "log-determinants of both directions",
    unit="nats per dimension",
    warn=1e-7,
    fail=1e-4,
    cause="the two directions count different log-determinants; frequently the inverse lacks the minus or a part",
    remedy="return -log_det from the inverse",
    needs=(*SOUND, inverse_undoes_forward),
)
def log_dets_are_negatives(task: DiagnosisTask) -> Measurement:
    """Their sum is 0 up to rounding, which would be 1e-6 in float32."""
    if task.is_estimate:
        raise NotMeasured("the log-determinants are estimates, other ones in each call")
    flow, few = task.precise
    z, _ = flow.bijector.forward_and_log_det(few.x, few.context)
    x, back = flow.bijector.inverse_and_log_det(z, few.context)
    _, log_det = flow.bijector.forward_and_log_det(x, few.context)
    excess = (log_det.double() + back.double()).abs().max().item() / flow.dims
    size = excess / task.slack
    if size > 1e-7 and is_solver(WithContext(flow.bijector, few.context), few.x):
        size /= SOLVER
    reached = None if size <= 1e-7 else task.first_layer(_log_dets_do_not_cancel)
    where = "" if reached is None else f"; in {reached.title}"
    text = f"forward and inverse add up to {excess:.2g} nats per dimension{where}"
    if size <= 1e-7:
        return Measurement(size, text)
    whole = WithContext(flow.bijector, few.context)
    if rounds := log_dets_round_to(whole, few.x):
        return Measurement(size, text, rounds, IN_FULL)
    cause = wrong_direction(*((whole, few.x) if reached is None else (reached.map, reached.x)))
    return Measurement(size, text, *(cause or ()))


@check(
    "log p is that of z and the log-determinant",
    unit="nats per dimension",
    warn=1e-8,
    fail=1e-4,
    cause="the log-determinant is subtracted or left out, or the base is asked about something else than z",
    remedy="log p(x) = base.log_prob(z) + log_det",
    needs=(*SOUND, same_input_same_output),
)
def log_p_is_that_of_its_parts(task: DiagnosisTask) -> Measurement:
    """The difference from ``base.log_prob(z) + log_det``, and of the base's density from one that integrates to 1.

    The constant of a standard normal is 0.9 nats per dimension. The integral of a base that is no Gaussian is known if
    its dimensions are independent, from sums that may err by 0.3 nats per dimension. Of any other base, z times the
    slope of its log-density is averaged over its draws: that is minus the number of dimensions.
    """
    flow, few = task.precise
    if task.is_estimate:
        raise NotMeasured("the log-determinant is an estimate, another one in each call")
    with seeded(0):
        z, log_det = flow.bijector.forward_and_log_det(few.x, few.context)
    with seeded(0):
        difference = flow.log_prob(few.x, few.context) - flow.base.log_prob(z) - log_det
    size = difference.abs().max().item() / flow.dims
    wrong = wrong_base(task.flow.base, flow.dims, task.prior)
    if wrong is not None and wrong.size > size:
        return wrong
    return Measurement(size / task.slack, f"{size:.2g} nats per dimension off")


def _precision(x: Tensor) -> str:
    return str(x.dtype).removeprefix("torch.")


@torch.no_grad()
def _does_not_come_back(layer: Invertible, x: Tensor) -> bool:
    return not bool((decoded_again(layer, x) - x).abs().max() <= 1e-8 * (1 + x.abs().max()))


@torch.no_grad()
def _log_dets_do_not_cancel(layer: Invertible, x: Tensor) -> bool:
    x, back = layer.inverse_and_log_det(layer.forward_and_log_det(x)[0])
    _, log_det = layer.forward_and_log_det(x)
    return not bool((log_det + back).abs().max() <= 1e-7 * x[0].numel())


MAP = (
    inverse_undoes_forward,
    log_dets_are_negatives,
    log_det_is_that_of_the_jacobian,
    log_p_is_that_of_its_parts,
)
