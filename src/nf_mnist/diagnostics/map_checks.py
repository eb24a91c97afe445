"""Laws of the map: the contract of a bijector, its inverse and its log-determinant."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from nf_mnist.diagnostics.check import SOUND, Measurement, NotMeasured, first_line, law
from nf_mnist.diagnostics.contract import CONTRACT
from nf_mnist.diagnostics.data_checks import UNIT_INTERVAL
from nf_mnist.diagnostics.gradients import slopes_of_log_p
from nf_mnist.diagnostics.jacobian import exact_log_det, relation
from nf_mnist.diagnostics.layers import WithContext, first_layer
from nf_mnist.diagnostics.task import DiagnosisTask, in_float64

SAME = "same input, same output"
INVERSE = "inverse undoes forward"
JACOBIAN = "log-determinant is that of the Jacobian"
N_DIRECTIONS = 3
PARTS = {"base": "log N(z; 0, 1)", "log_det": "log-determinant"}

# Each check of the contract is a law that is kept or not: (cause, cure, needs).
REMEDIES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "shapes": (
        "a direction loses or adds dimensions, or a log-determinant is not one number per event",
        "return log-determinants of shape (batch,), summed: log_det.flatten(1).sum(1); keep factored-out parts in z",
        (),
    ),
    "values are finite": (
        "scales overflow, something is divided by 0 or a logarithm taken outside its domain, or the weights diverged",
        "model.flow.scale_activation=tanh; of diverged weights an earlier checkpoint, then optimizer.lr=1e-4 with "
        "trainer.gradient_clip_val=100",
        ("shapes",),
    ),
    "inputs are left alone": ("an in-place operation (mul_, +=) on the input", "work on a new tensor", ()),
    "dtypes": (
        "a float32 accumulator or constant, such as torch.zeros(n), in a float64 computation",
        "start sums from x.new_zeros(len(x)), and register constants as buffers",
        SOUND,
    ),
    "state is left alone": (
        "a layer updates its statistics or counters in evaluation mode",
        "update buffers only if self.training",
        SOUND,
    ),
    SAME: (
        "random numbers inside the map: dropout, dequantization, or a split whose inverse draws its latents anew",
        "keep factored-out latents in z; dequantize before the flow",
        (*SOUND, "state is left alone"),
    ),
    "calls are independent": (
        "a direction uses what an earlier call left behind: a stale cache",
        "compute parameters from the input of the call, and matrices from the present weights",
        (*SOUND, SAME),
    ),
    "events do not mix": (
        "BatchNorm normalises by the present batch in evaluation mode, or something is averaged over the batch",
        "flow.eval(), and running statistics in evaluation; or model.norm=actnorm; log-determinants per event",
        (*SOUND, SAME),
    ),
}


def _contract(name: str) -> None:
    cause, cure, needs = REMEDIES[name]
    check = CONTRACT[name]

    def kept(subject: DiagnosisTask) -> Measurement:
        wrong = _in_float64(subject, check) if name == "dtypes" else check(*subject.precise_arguments())
        if wrong is None:
            return Measurement(0.0, "kept")
        return Measurement(1.0, wrong + _layer(subject, lambda layer, x: check(layer, x.clone()) is not None))

    kept.__doc__ = check.__doc__
    law(name, unit="", warn=0, fail=0, cause=cause, cure=cure, needs=needs)(kept)


def _in_float64(subject: DiagnosisTask, check: Callable[[WithContext, Tensor], str | None]) -> str | None:
    few = subject.batch.first(2).double()
    try:
        return check(WithContext(in_float64(subject.flow).bijector, few.context), few.x)
    except Exception as error:  # a user's flow may fail in any way
        return f"float64 raises {type(error).__name__}: {first_line(error)}"


for _name in REMEDIES:
    _contract(_name)


@law(
    INVERSE,
    unit="grey levels, in float64",
    warn=1e-6,
    fail=1e-3,
    cause="the two directions compute different parameters, or undo their layers in another order",
    cure="let both directions call one function for their parameters",
    needs=(*SOUND, SAME, "calls are independent", UNIT_INTERVAL),
)
def inverse_undoes_forward(subject: DiagnosisTask) -> Measurement:
    """In float64 rounding is 1e-16, which a healthy flow magnifies by less than 1e8; a wrong inverse is off by more."""
    flow, few = subject.precise
    x = few.x
    z, _ = flow.bijector.forward_and_log_det(x, few.context)
    back, _ = flow.bijector.inverse_and_log_det(z, few.context)
    largest = (back - x).abs().max().item() * 256
    size = largest / subject.slack
    where = "" if size <= 1e-6 else _layer(subject, _does_not_come_back)
    return Measurement(size, f"{largest:.2g} grey levels in {_precision(x)}{where}")


@law(
    "forward undoes inverse",
    unit="of the latents do not come back",
    warn=0.01,
    fail=0.1,
    cause="the inverse clips or rounds what it decodes, so that different latents become one image; or the flow has "
    "hardly trained, and samples lie so far out that its sigmoid is 0 or 1",
    cure="return from the inverse what the formula gives, and clip pictures only where they are shown; or train longer",
    needs=(*SOUND, INVERSE),
)
def forward_undoes_inverse(subject: DiagnosisTask) -> Measurement:
    """The share of latents drawn from the prior that come back more than 0.01 off, in float64.

    The grid of float64 is too coarse next to 1 for a handful of saturated pixels, hence not 0.
    """
    flow, few = subject.precise
    z = flow.base.sample(len(few.x), torch.Generator().manual_seed(subject.seed)).to(few.x)
    x, _ = flow.bijector.inverse_and_log_det(z, few.context)
    back, _ = flow.bijector.forward_and_log_det(x, few.context)
    return Measurement((~((back - z).abs() <= 0.01)).double().mean().item())


@law(
    "log-determinants of both directions",
    unit="nats per dimension",
    warn=1e-7,
    fail=1e-4,
    cause="the inverse returns the log-determinant of forward, without the minus, or forgets a part of it",
    cure="return -log_det from the inverse",
    needs=(*SOUND, INVERSE),
)
def log_dets_are_negatives(subject: DiagnosisTask) -> Measurement:
    """Their sum is 0 up to rounding; float32 alone would leave 1e-6."""
    flow, few = subject.precise
    z, log_det = flow.bijector.forward_and_log_det(few.x, few.context)
    _, back = flow.bijector.inverse_and_log_det(z, few.context)
    excess = (log_det.double() + back.double()).abs().max().item() / flow.dims
    size = excess / subject.slack
    where = "" if size <= 1e-7 else _layer(subject, _log_dets_do_not_cancel)
    return Measurement(size, f"forward and inverse add up to {excess:.2g} nats per dimension{where}")


@law(
    JACOBIAN,
    unit="nats per dimension",
    warn=1e-10,
    fail=1e-5,
    cause="a log-determinant leaves elements out, or counts some that pass unchanged (the mask: alpha * (1 - mask))",
    cure="compare the layer named here with torch.func.jacrev; the sum is over transformed elements only",
    needs=(*SOUND, SAME),
)
def log_det_is_that_of_the_jacobian(subject: DiagnosisTask) -> Measurement:
    """Claimed less exact, in float64, of one event: float64 leaves 1e-14, and float32 no more than 1e-5."""
    flow, few = subject.precise
    one = few.first(1)
    found = exact_log_det(WithContext(flow.bijector, one.context), one.x)
    size = abs(found.claimed - found.exact) / flow.dims / subject.slack
    figure = f"claimed {found.claimed:.6g} nats, exact {found.exact:.6g}"
    if size <= 1e-10:
        return Measurement(size, figure)
    if size <= 1e-5:
        return Measurement(size, figure, "a part of the sum is computed in float32", "accumulate in the dtype of x")
    reached = first_layer(flow.bijector, one.x, one.context, _log_det_is_wrong)
    if reached is None:
        return Measurement(size, figure, relation(found.claimed, found.exact, flow.dims))
    part = exact_log_det(WithContext(reached.layer, reached.context), reached.x)
    figure += f"; first wrong in {reached.title}: claimed {part.claimed:.6g}, exact {part.exact:.6g}"
    return Measurement(size, figure, relation(part.claimed, part.exact, reached.x[0].numel()))


@law(
    "log p is that of z and the log-determinant",
    unit="nats per dimension",
    warn=1e-8,
    fail=1e-4,
    cause="the log-determinant is subtracted, or the base leaves out its constant or is no standard normal",
    cure="log p(x) = log N(z; 0, 1) + log_det, with -dims / 2 * log(2 pi) in it",
    needs=(*SOUND, SAME),
)
def log_p_is_that_of_its_parts(subject: DiagnosisTask) -> Measurement:
    """Against ``-|z|^2 / 2 - dims / 2 log(2 pi) + log_det``; the constant alone is 0.9 nats per dimension."""
    flow, few = subject.precise
    z, log_det = flow.bijector.forward_and_log_det(few.x, few.context)
    expected = log_det - 0.5 * (z.square().flatten(1).sum(1) + flow.dims * math.log(2 * math.pi))
    found = flow.log_prob(few.x, few.context)
    size = (found - expected).abs().max().item() / flow.dims
    return Measurement(size / subject.slack, f"{size:.2g} nats per dimension off")


@law(
    "gradients are those of log p",
    unit="of the slope",
    warn=1e-3,
    fail=0.01,
    cause="a part of log p is computed under no_grad or detached, so that training maximises something else",
    cure="leave detach(), .data and torch.no_grad() out of what makes z and log-determinants",
    needs=(*SOUND, SAME, "calls are independent"),
)
def gradients_are_those_of_log_p(subject: DiagnosisTask) -> Measurement:
    """Autograd against a central difference along random directions of all parameters, in float64.

    Of the base's part and the log-determinant's, each by itself. Rounding and the kinks of ReLUs leave 1e-5; what is
    left out in one layer of a hundred is a hundredth.
    """
    flow, few = subject.precise
    if few.x.dtype != torch.float64:
        raise NotMeasured("a difference of log p is rounding in float32")
    found = [slopes_of_log_p(flow, few.x, few.context, subject.seed + i) for i in range(N_DIRECTIONS)]
    part, worst = max((pair for slopes in found for pair in slopes._asdict().items()), key=lambda pair: pair[1].error)
    figure = f"{PARTS[part]}: autograd says {worst.claimed:.6g} nats, a difference {worst.measured:.6g}"
    return Measurement(worst.error, figure)


def _precision(x: Tensor) -> str:
    return str(x.dtype).removeprefix("torch.")


def _layer(subject: DiagnosisTask, is_faulty: Callable[[WithContext, Tensor], bool]) -> str:
    """Return in which layer something is wrong, in words; empty if no layer alone is to blame."""
    flow, few = subject.precise
    try:
        reached = first_layer(flow.bijector, few.x.clone(), few.context, is_faulty)
    except Exception:  # the flow cannot even be called; the law says so
        return ""
    return "" if reached is None else f"; in {reached.title}"


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
    found = exact_log_det(layer, x)
    return not abs(found.claimed - found.exact) <= 1e-6 * x[0].numel()
