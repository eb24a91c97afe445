"""The check of log-determinants against Jacobians, over several events."""

import time
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from nf_mnist.diagnostics.access.batch import Batch
from nf_mnist.diagnostics.access.events import telling_events
from nf_mnist.diagnostics.access.invertible import Invertible
from nf_mnist.diagnostics.access.layers import ReachedLayer, WithContext, first_layer, reached_layers
from nf_mnist.diagnostics.base import Measurement, NotMeasured, check, worst
from nf_mnist.diagnostics.causes.dependencies import sees_itself
from nf_mnist.diagnostics.causes.experiments import is_solver
from nf_mnist.diagnostics.causes.gaps import STANDARD_ERRORS, estimated_log_det, explained
from nf_mnist.diagnostics.causes.inverses import SEES_ITSELF
from nf_mnist.diagnostics.causes.solvers import SHRINKS, with_finer_steps
from nf_mnist.diagnostics.causes.values import Cause
from nf_mnist.diagnostics.checks.contract import SOUND, same_input_same_output
from nf_mnist.diagnostics.measures.jacobian import LogDet, differences, exact_log_det, jacobian_of
from nf_mnist.diagnostics.task import DiagnosisTask
from nf_mnist.flows import Flow

HOW_BIASED = (
    "its terms are wrong, a series is cut off without weights, or probes have another covariance than the identity"
)
COMPARE = "compare the terms of both directions one by one"
FLOAT32_ERROR = 1e-6  # relative error of a sum in float32
FLOAT32 = "a part of it is computed in float32, whose rounding has this size, or a small term is wrong"
N_CANDIDATES = 16  # images among which the most telling ones are looked for
SECONDS = 6.0  # after which no further event is looked at
RESOLVED = 1e13  # condition number of a Jacobian above which its determinant is rounding in float64
LARGE_BIAS = 0.1  # nats per dimension of an estimate, which training follows
UNRESOLVED_ERROR = 0.1  # nats per dimension: what a few singular values that are rounding may make of a determinant
SOLVER_ERROR = 1e3  # factor by which the log-determinant of a solver may err more than any other


@check(
    "log-determinant is that of the Jacobian",
    unit="nats per dimension",
    warn=1e-10,
    fail=1e-5,
    cause="the log-determinant does not belong to the map; why is not known. A frequent reason is a sum over other "
    "elements than those that are transformed (the mask: alpha * (1 - mask))",
    remedy="compare the layer named here with torch.func.jacrev; the sum is over transformed elements only",
    needs=(*SOUND, same_input_same_output),
)
def log_det_is_that_of_the_jacobian(task: DiagnosisTask) -> Measurement:
    """The largest difference between claimed and exact over up to four events, in float64, whose rounding is 1e-14.

    The events are an image, those with the largest values, and a sample. Of an estimate the mean is compared, less five
    standard errors. The integral of a solver may err by 0.01. The weights of an untrained flow are moved off their
    initial values, which hide faults.
    """
    found, unresolved = [], NotMeasured()
    for flow in task.variants[:1] if task.is_estimate else task.variants:  # a series converges for some weights only
        try:
            found.append(_compared(task, flow))
        except NotMeasured as reason:
            unresolved = reason
    if not found:
        raise unresolved
    return worst(found)


def _compared(task: DiagnosisTask, flow: Flow) -> Measurement:
    candidates = task.precise_batch(N_CANDIDATES)
    events = telling_events(flow, candidates, task.seed)
    maps = [WithContext(flow.bijector, event.context) for event in events]
    if task.is_estimate:
        return _of_estimates(task, maps, events)
    pairs = list(_within(SECONDS, (exact_log_det(one, event.x) for one, event in zip(maps, events, strict=False))))
    at = max(range(len(pairs)), key=lambda i: pairs[i].gap)
    claimed, exact, _ = pairs[at]
    size = pairs[at].gap / flow.dims / task.slack
    text = f"claimed {claimed:.6g} nats, exact {exact:.6g}, the worst of {len(pairs)} events"
    if size <= 1e-10:
        return Measurement(size, text)
    if pairs[at].gap <= FLOAT32_ERROR * max(abs(exact), flow.dims):
        return Measurement(0.0, f"{text}: no more than rounding in float32, in which some libraries add up")
    if size <= 1e-5:
        return Measurement(size, text, FLOAT32, "accumulate in the dtype of x", is_shown=False)
    return _explained(flow, events[: len(pairs)], pairs, at, Measurement(size, text))


def _explained(flow: Flow, events: list[Batch], pairs: list[LogDet], at: int, found: Measurement) -> Measurement:
    """Return what was found with its cause, if an experiment shows one, and with the layer that it is in."""
    whole, event = WithContext(flow.bijector, events[at].context), events[at]
    values = torch.linalg.svdvals(jacobian_of(whole, event.x))
    if 0 < values[-1] < values[0] / RESOLVED and found.size < UNRESOLVED_ERROR:
        raise NotMeasured(
            f"float64 cannot resolve the determinant of a Jacobian that stretches by up to {values[0]:.2g}"
        )
    if found.size < 1e-5 * SOLVER_ERROR and is_solver(whole, event.x, is_inverse=False):
        return Measurement(0.0, f"{found.text}: no more than the error of a solver")
    by_differences = torch.linalg.slogdet(differences(whole, event.x)).logabsdet.item()
    if abs(by_differences - pairs[at].claimed) < 1e-3 * pairs[at].gap:
        text = f"{found.text}, and {by_differences:.6g} by differences: autograd does not see all of the map"
        return Measurement(0.0, text)
    reached = first_layer(flow.bijector, event.x, event.context, _is_wrong)
    if reached is None:
        largest = [one.x.abs().max().item() for one in events]
        return found._replace(cause=explained(pairs, largest, flow.dims, lambda pair: not _differ(pair, flow.dims)))
    return _explained_layer(flow, events, reached, found)


def _explained_layer(flow: Flow, events: list[Batch], reached: ReachedLayer, found: Measurement) -> Measurement:
    same = [
        layer
        for event in events
        for layer in reached_layers(flow.bijector, event.x, event.context)
        if layer.name == reached.name
    ]
    inputs = [layer.x for layer in same] + [reached.x / reached.x.abs().max().clamp(min=1)]
    maps = [layer.map for layer in same] + [reached.map]
    pairs = list(_within(SECONDS, (exact_log_det(one, x) for one, x in zip(maps, inputs, strict=True))))
    of_layer, dims = exact_log_det(reached.map, reached.x), reached.x[0].numel()
    text = f"{found.text}; first wrong in {reached.title}: claimed {of_layer.claimed:.6g}, exact {of_layer.exact:.6g}"
    if sees_itself(reached.map, reached.x, jacobian_of(reached.map, reached.x)):
        return found._replace(text=text, cause=SEES_ITSELF.text, remedy=SEES_ITSELF.remedy)
    largest = [x.abs().max().item() for x in inputs[: len(pairs)]]
    return found._replace(text=text, cause=explained(pairs, largest, dims, lambda pair: not _differ(pair, dims)))


def _of_estimates(task: DiagnosisTask, maps: list[WithContext], events: list[Batch]) -> Measurement:
    bias, text = _bias(maps[0], events[0].x)
    if bias and is_solver(maps[0], events[0].x, is_inverse=False):
        finer = next(with_finer_steps(maps[0]), None)
        if finer is not None and _bias(finer, events[0].x)[0] < SHRINKS * bias:
            raise NotMeasured(f"{text}: finer steps of the solver make the difference smaller")
    cause = f"the estimate of the log-determinant has a bias: {HOW_BIASED}"
    remedy = "weigh the terms by their probability, or take more of them; draw probes of mean 0 and variance 1"
    return Measurement(bias / task.flow.dims / 1e3, text, cause, remedy)


def biased_estimate(bijector: Invertible, x: Tensor) -> str:
    """Say by how much the mean of an estimated log-determinant is off, if by more than 0.1 nats per dimension.

    Args:
        bijector: The map.
        x: Events, shape (batch, *event), of which the first is looked at.
    """
    bias, text = _bias(bijector, x[:1])
    return f"the log-determinant is {text}" if bias > LARGE_BIAS * x[0].numel() else ""


@torch.no_grad()
def wrong_direction(bijector: Invertible, x: Tensor) -> Cause | None:
    """Return which direction's log-determinant is wrong, if the two are no negatives; None if neither is by 1e-6 nats.

    Args:
        bijector: The map.
        x: Events, shape (batch, *event), of which the first is looked at.
    """
    event, dims = x[:1], x[0].numel()
    claimed, exact, error = exact_log_det(bijector, event)
    back = bijector.inverse_and_log_det(bijector.forward_and_log_det(event)[0])[1].sum().item()
    forward, inverse = (LogDet(one, exact, error) for one in (claimed, -back))
    are_wrong = _differ(forward, dims), _differ(inverse, dims)
    if are_wrong == (False, True):
        if not _differ(LogDet(back, exact, error), dims):
            return Cause("the inverse returns the log-determinant of forward: its sign is wrong", "return -log_det")
        text = "the log-determinant of the inverse is wrong; that of forward is the exact one"
        return Cause(f"{text}: a part is missing or counted twice from latent to data", COMPARE)
    if are_wrong == (True, False):
        text = "the log-determinant of forward is wrong; that of the inverse is the exact one"
        return Cause(f"{text}: a part is missing or counted twice from data to latent", COMPARE)
    if are_wrong == (True, True):
        return Cause("the log-determinants of both directions are wrong", "compare each with torch.func.jacrev")
    return None


def _bias(bijector: Invertible, x: Tensor) -> tuple[float, str]:
    """Return by how many nats an estimate is off beyond its standard errors, and that in words."""
    exact = exact_log_det(bijector, x).exact
    mean, error = estimated_log_det(bijector, x)
    text = f"an estimate, {mean:.6g} +- {error:.2g} nats in the mean of many calls, exact {exact:.6g}"
    return max(abs(mean - exact) - STANDARD_ERRORS * error, 0.0), text


def _is_wrong(layer: Invertible, x: Tensor) -> bool:
    return any(_differ(exact_log_det(layer, event), x[0].numel()) for event in x.split(1))


def _differ(pair: LogDet, dims: int) -> bool:
    return not pair.gap <= 1e-6 * dims


def _within(seconds: float, values: Iterable[LogDet]) -> Iterator[LogDet]:
    """Yield the first value, and further ones until the time has passed."""
    begin = time.monotonic()
    for value in values:
        yield value
        if time.monotonic() - begin > seconds:
            return
