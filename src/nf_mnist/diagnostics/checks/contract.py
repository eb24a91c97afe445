"""Checks of the contract of a bijector: is each rule in :mod:`~nf_mnist.diagnostics.measures.contract` kept?"""

import contextlib
import math

import torch
from torch import Tensor

from nf_mnist.diagnostics.access.batch import Batch
from nf_mnist.diagnostics.access.invertible import same
from nf_mnist.diagnostics.access.isolation import copied, seeded_call
from nf_mnist.diagnostics.access.layers import WithContext
from nf_mnist.diagnostics.access.messages import raised
from nf_mnist.diagnostics.access.precision import in_float64
from nf_mnist.diagnostics.base import Check, Measurement, NotMeasured, check
from nf_mnist.diagnostics.causes.experiments import is_integral
from nf_mnist.diagnostics.causes.solvers import SHRINKS, with_finer_steps
from nf_mnist.diagnostics.causes.values import Cause, cause_of_large_values, cause_of_values_not_finite, largest_latent
from nf_mnist.diagnostics.checks.weights import all_parts_are_registered
from nf_mnist.diagnostics.measures.contract import RULES, Rule, mixed_batch, random_output
from nf_mnist.diagnostics.task import DiagnosisTask
from nf_mnist.errors import ConvergenceError
from nf_mnist.flows import Flow

OUTDATED = (
    "evaluation uses what it computed of other weights, and train() drops that: such as matrices that were cached "
    "before the weights were loaded"
)
UNEQUAL = {"events do not mix": mixed_batch, "same input, same output": random_output}
SOLVER_ERROR = 1e-3  # relative error of a solver, whose steps may depend on the rest of the batch


def _contract_check(name: str, cause: str, remedy: str, needs: tuple[Check, ...]) -> Check:
    """Turn the rule of this name into a check that measures 0 if the rule is kept and 1 if not."""
    rule = RULES[name]

    def measure(task: DiagnosisTask) -> Measurement:
        violation = _in_float64(task, rule) if name == "dtypes" else rule(*task.precise_arguments())
        if violation is not None and name in UNEQUAL and is_integral(*task.precise_arguments()):
            violation = _beyond_the_error_of_a_solver(task, name)
        if violation is None:
            return Measurement(0.0, _estimated(task) if name == "same input, same output" else "holds")
        reached = task.first_layer(lambda layer, x: rule(layer, x.clone()) is not None)
        where = "" if reached is None else f"; in {reached.title}"
        cause: Cause | None = None
        if name == "values are finite":
            cause = cause_of_values_not_finite(task, reached)
        return Measurement(1.0, violation + where, *(cause or ()))

    measure.__doc__ = rule.__doc__
    return Check(name, measure, "", 0.0, 0.0, cause, remedy, needs, is_cheap=False)


@torch.no_grad()
def _beyond_the_error_of_a_solver(task: DiagnosisTask, name: str) -> str | None:
    """Return how latents that should be equal differ: by more than a solver's error, whatever finer steps it takes."""
    (bijector, few), differs = task.precise_arguments(), UNEQUAL[name]
    violation = differs(bijector, few, SOLVER_ERROR)
    one, other = (bijector.forward_and_log_det(events)[0][:1] for events in (few, few[:1]))
    allowed = max(SOLVER_ERROR, SHRINKS * ((one - other).abs().max() / (1 + one.abs().max())).item())
    for finer in with_finer_steps(bijector):
        with contextlib.suppress(ConvergenceError):
            violation = violation and differs(finer, few, allowed)
    return violation


def _estimated(task: DiagnosisTask) -> str:
    return "holds, and log-determinants are estimates, which differ from call to call" if task.is_estimate else "holds"


def _in_float64(task: DiagnosisTask, rule: Rule) -> str | None:
    """Apply a rule in float64, even if the map does not run in it."""
    few = task.batch.first(2).double()
    arguments: tuple[WithContext, Tensor] = WithContext(in_float64(task.flow).bijector, few.context), few.x
    try:
        return rule(*arguments)
    except Exception as error:  # a user's flow may fail in any way
        return f"float64 {raised(error)}"


state_is_left_alone = _contract_check(
    "state is left alone",
    cause="a layer updates its statistics, counters or sums in evaluation mode, or keeps something from call to call",
    remedy="update buffers only if self.training, and start sums anew in each call",
    needs=(),
)


@check(
    "training mode and back changes nothing",
    unit="",
    warn=0.0,
    fail=0.0,
    cause=OUTDATED,
    remedy="call flow.train() and flow.eval() once weights are loaded, or compute nothing with the flow before",
    needs=(),
)
def training_mode_and_back(task: DiagnosisTask) -> Measurement:
    """Latents and log-determinants of two images, before and after ``flow.train().eval()``, with the same seed."""
    few = task.batch.first(2)
    try:
        before, after = (_mapped(flow, few) for flow in (copied(task.flow), copied(task.flow).train().eval()))
    except Exception as error:  # the check of shapes reports it
        raise NotMeasured("forward fails, as another check says") from error
    if all(same(one, other) for one, other in zip(before, after, strict=True)):
        return Measurement(0.0, "holds")
    moved = (before[0] - after[0]).abs().max().item(), (before[1] - after[1]).abs().max().item()
    return Measurement(1.0, "latents change by {:.3g}, log-determinants by {:.3g} nats".format(*moved), OUTDATED)


@torch.no_grad()
def _mapped(flow: Flow, few: Batch) -> tuple[Tensor, Tensor]:
    return seeded_call(WithContext(flow.bijector, few.context).forward_and_log_det)(few.x.clone())


shapes = _contract_check(
    "shapes",
    cause="a direction loses or adds dimensions, or a log-determinant is not one number per event",
    remedy="return log-determinants of shape (batch,), summed: log_det.flatten(1).sum(1); keep factored-out parts in z",
    needs=(),
)
values_are_finite = _contract_check(
    "values are finite",
    cause="a number overflows, is divided by 0, or is outside the domain of a function; which of these is not known",
    remedy="look at the values that reach the layer named here",
    needs=(shapes,),
)
inputs_are_left_alone = _contract_check(
    "inputs are left alone",
    cause="an in-place operation (mul_, +=) on the input",
    remedy="work on a new tensor",
    needs=(),
)
SOUND = (shapes, values_are_finite, inputs_are_left_alone)  # what almost every other check needs
dtypes = _contract_check(
    "dtypes",
    cause="a float32 accumulator or constant, such as torch.zeros(n), in a float64 computation",
    remedy="start sums from x.new_zeros(len(x)), and register constants as buffers",
    needs=(*SOUND, all_parts_are_registered),
)


@check(
    "values have an ordinary size",
    unit="decades",
    warn=4.0,
    fail=6.0,
    cause="the flow magnifies images: scales or normalisations are too large, or the data have another range",
    remedy="look at the first layer whose values are large",
    needs=SOUND,
)
def values_have_an_ordinary_size(task: DiagnosisTask) -> Measurement:
    """The largest latent of an image, the median over images, as a power of ten. Latents of a logit end at 11.5."""
    largest = largest_latent(task)
    size = math.log10(max(largest, 1.0))
    cause = None if size <= 4 else cause_of_large_values(task, largest)
    return Measurement(size, f"latents reach {largest:.3g}", *(cause or ()))


same_input_same_output = _contract_check(
    "same input, same output",
    cause="random numbers inside the map: dropout, dequantization, or a split whose inverse draws its latents anew",
    remedy="keep factored-out latents in z; dequantize before the flow",
    needs=(*SOUND, state_is_left_alone),
)
calls_are_independent = _contract_check(
    "calls are independent",
    cause="a direction uses what an earlier call left behind: a stale cache",
    remedy="compute parameters from the input of the call, and matrices from the present weights",
    needs=(*SOUND, same_input_same_output),
)
events_do_not_mix = _contract_check(
    "events do not mix",
    cause="BatchNorm normalises by the present batch in evaluation mode, or something is averaged over the batch",
    remedy="flow.eval(), and running statistics in evaluation; log-determinants per event",
    needs=(*SOUND, same_input_same_output),
)

CONTRACT = (
    state_is_left_alone,
    training_mode_and_back,
    *SOUND,
    values_have_an_ordinary_size,
    dtypes,
    same_input_same_output,
    calls_are_independent,
    events_do_not_mix,
)
