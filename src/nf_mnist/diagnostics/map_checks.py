"""Checks of the map: its inverse, its log-determinant, and the density and gradients that follow from them."""

import math

import torch
from torch import Tensor

from nf_mnist.diagnostics.base import Measurement, NotMeasured, check
from nf_mnist.diagnostics.contract_checks import SOUND, calls_are_independent, same_input_same_output
from nf_mnist.diagnostics.data_checks import data_lie_in_the_unit_interval
from nf_mnist.diagnostics.gradients import slopes_of_log_p
from nf_mnist.diagnostics.jacobian import exact_log_det, relation
from nf_mnist.diagnostics.layers import WithContext, first_layer
from nf_mnist.diagnostics.task import DiagnosisTask

N_DIRECTIONS = 3
TERMS = {"base": "log N(z; 0, 1)", "log_det": "log-determinant"}


@check(
    "inverse undoes forward",
    unit="grey levels, in float64",
    warn=1e-6,
    fail=1e-3,
    cause="the two directions compute different parameters, or the inverse undoes the layers in the wrong order",
    remedy="let both directions call one function for their parameters",
    needs=(*SOUND, same_input_same_output, calls_are_independent, data_lie_in_the_unit_interval),
)
def inverse_undoes_forward(task: DiagnosisTask) -> Measurement:
    """Rounding in float64 is 1e-16, which a healthy flow magnifies by less than 1e8. A wrong inverse is off by more."""
    flow, few = task.precise
    z, _ = flow.bijector.forward_and_log_det(few.x, few.context)
    back, _ = flow.bijector.inverse_and_log_det(z, few.context)
    largest = (back - few.x).abs().max().item() * 256
    size = largest / task.slack
    where = "" if size <= 1e-6 else task.where(_does_not_come_back)
    return Measurement(size, f"{largest:.2g} grey levels in {_precision(few.x)}{where}")


@check(
    "forward undoes inverse",
    unit="of the latents do not come back",
    warn=0.01,
    fail=0.1,
    cause="the inverse clips or rounds what it decodes, so that different latents become one image; or the flow has "
    "hardly trained, and samples lie so far out that its sigmoid is 0 or 1",
    remedy="return what the formula gives from the inverse, and clip images only when they are shown; or train longer",
    needs=(*SOUND, inverse_undoes_forward),
)
def forward_undoes_inverse(task: DiagnosisTask) -> Measurement:
    """The share of latents, drawn from the prior, that come back with an error above 0.01 in float64.

    It is not exactly 0 even for healthy flows: near 1, the grid of float64 is too coarse for a few saturated pixels.
    """
    flow, few = task.precise
    z = flow.base.sample(len(few.x), torch.Generator().manual_seed(task.seed)).to(few.x)
    x, _ = flow.bijector.inverse_and_log_det(z, few.context)
    back, _ = flow.bijector.forward_and_log_det(x, few.context)
    return Measurement((~((back - z).abs() <= 0.01)).double().mean().item())


@check(
    "log-determinants of both directions",
    unit="nats per dimension",
    warn=1e-7,
    fail=1e-4,
    cause="the inverse returns the log-determinant of forward, without the minus, or forgets a part of it",
    remedy="return -log_det from the inverse",
    needs=(*SOUND, inverse_undoes_forward),
)
def log_dets_are_negatives(task: DiagnosisTask) -> Measurement:
    """Their sum is 0 up to rounding, which would be 1e-6 in float32."""
    flow, few = task.precise
    z, log_det = flow.bijector.forward_and_log_det(few.x, few.context)
    _, back = flow.bijector.inverse_and_log_det(z, few.context)
    excess = (log_det.double() + back.double()).abs().max().item() / flow.dims
    size = excess / task.slack
    where = "" if size <= 1e-7 else task.where(_log_dets_do_not_cancel)
    return Measurement(size, f"forward and inverse add up to {excess:.2g} nats per dimension{where}")


@check(
    "log-determinant is that of the Jacobian",
    unit="nats per dimension",
    warn=1e-10,
    fail=1e-5,
    cause="a log-determinant leaves elements out, or counts some that pass unchanged (the mask: alpha * (1 - mask))",
    remedy="compare the layer named here with torch.func.jacrev; the sum is over transformed elements only",
    needs=(*SOUND, same_input_same_output),
)
def log_det_is_that_of_the_jacobian(task: DiagnosisTask) -> Measurement:
    """The difference between claimed and exact, for one image in float64, whose rounding is 1e-14; float32: 1e-5."""
    flow, few = task.precise
    event = few.first(1)
    total = exact_log_det(WithContext(flow.bijector, event.context), event.x)
    size = abs(total.claimed - total.exact) / flow.dims / task.slack
    text = f"claimed {total.claimed:.6g} nats, exact {total.exact:.6g}"
    if size <= 1e-10:
        return Measurement(size, text)
    if size <= 1e-5:
        return Measurement(size, text, "a part of the sum is computed in float32", "accumulate in the dtype of x")
    reached = first_layer(flow.bijector, event.x, event.context, _log_det_is_wrong)
    if reached is None:
        return Measurement(size, text, relation(total.claimed, total.exact, flow.dims))
    of_layer = exact_log_det(WithContext(reached.layer, reached.context), reached.x)
    text += f"; first wrong in {reached.title}: claimed {of_layer.claimed:.6g}, exact {of_layer.exact:.6g}"
    return Measurement(size, text, relation(of_layer.claimed, of_layer.exact, reached.x[0].numel()))


@check(
    "log p is that of z and the log-determinant",
    unit="nats per dimension",
    warn=1e-8,
    fail=1e-4,
    cause="the log-determinant is subtracted, or the base leaves out its constant or is not a standard normal",
    remedy="log p(x) = log N(z; 0, 1) + log_det, with -dims / 2 * log(2 pi) in it",
    needs=(*SOUND, same_input_same_output),
)
def log_p_is_that_of_its_parts(task: DiagnosisTask) -> Measurement:
    """The difference from ``-|z|^2 / 2 - dims / 2 log(2 pi) + log_det``. The constant is 0.9 nats per dimension."""
    flow, few = task.precise
    z, log_det = flow.bijector.forward_and_log_det(few.x, few.context)
    expected = log_det - 0.5 * (z.square().flatten(1).sum(1) + flow.dims * math.log(2 * math.pi))
    log_prob = flow.log_prob(few.x, few.context)
    size = (log_prob - expected).abs().max().item() / flow.dims
    return Measurement(size / task.slack, f"{size:.2g} nats per dimension off")


@check(
    "gradients are those of log p",
    unit="of the slope",
    warn=1e-3,
    fail=0.01,
    cause="a part of log p is computed under no_grad or detached, so that training maximises something else",
    remedy="compute z and log-determinants without detach(), .data and torch.no_grad()",
    needs=(*SOUND, same_input_same_output, calls_are_independent),
)
def gradients_are_those_of_log_p(task: DiagnosisTask) -> Measurement:
    """The slope from autograd against a central difference, along random directions of all parameters, in float64.

    Base and log-determinant are compared separately. Rounding and the kinks of ReLUs make a difference of 1e-5;
    detaching one layer of a hundred makes a difference of one hundredth.
    """
    flow, few = task.precise
    if few.x.dtype != torch.float64:
        raise NotMeasured("a difference of log p is rounding in float32")
    slopes = [slopes_of_log_p(flow, few.x, few.context, task.seed + i) for i in range(N_DIRECTIONS)]
    pairs = (pair for of_direction in slopes for pair in of_direction._asdict().items())
    term, worst = max(pairs, key=lambda pair: pair[1].error)
    text = f"{TERMS[term]}: autograd says {worst.claimed:.6g} nats, a difference {worst.measured:.6g}"
    return Measurement(worst.error, text)


def _precision(x: Tensor) -> str:
    return str(x.dtype).removeprefix("torch.")


@torch.no_grad()
def _does_not_come_back(layer: WithContext, x: Tensor) -> bool:
    back = layer.inverse_and_log_det(layer.forward_and_log_det(x)[0])[0]
    return not bool((back - x).abs().max() <= 1e-8 * (1 + x.abs().max()))


@torch.no_grad()
def _log_dets_do_not_cancel(layer: WithContext, x: Tensor) -> bool:
    z, log_det = layer.forward_and_log_det(x)
    _, back = layer.inverse_and_log_det(z)
    return not bool((log_det + back).abs().max() <= 1e-7 * x[0].numel())


def _log_det_is_wrong(layer: WithContext, x: Tensor) -> bool:
    of_layer = exact_log_det(layer, x)
    return not abs(of_layer.claimed - of_layer.exact) <= 1e-6 * x[0].numel()


MAP = (
    inverse_undoes_forward,
    forward_undoes_inverse,
    log_dets_are_negatives,
    log_det_is_that_of_the_jacobian,
    log_p_is_that_of_its_parts,
    gradients_are_those_of_log_p,
)
