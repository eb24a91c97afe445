"""Checks of the contract of a bijector: each rule in :mod:`~nf_mnist.diagnostics.contract` is kept, or it is not."""

from torch import Tensor

from nf_mnist.diagnostics.base import Check, Measurement
from nf_mnist.diagnostics.contract import RULES, Rule
from nf_mnist.diagnostics.layers import WithContext
from nf_mnist.diagnostics.messages import raised
from nf_mnist.diagnostics.task import DiagnosisTask, in_float64


def _contract_check(name: str, cause: str, remedy: str, needs: tuple[Check, ...]) -> Check:
    """Turn the rule of this name into a check that measures 0 if the rule is kept and 1 if not."""
    rule = RULES[name]

    def measure(task: DiagnosisTask) -> Measurement:
        violation = _in_float64(task, rule) if name == "dtypes" else rule(*task.precise_arguments())
        if violation is None:
            return Measurement(0.0, "kept")
        return Measurement(1.0, violation + task.where(lambda layer, x: rule(layer, x.clone()) is not None))

    measure.__doc__ = rule.__doc__
    return Check(name, measure, "", 0.0, 0.0, cause, remedy, needs, is_cheap=False)


def _in_float64(task: DiagnosisTask, rule: Rule) -> str | None:
    """Apply a rule in float64, even if the map does not run in it."""
    few = task.batch.first(2).double()
    arguments: tuple[WithContext, Tensor] = WithContext(in_float64(task.flow).bijector, few.context), few.x
    try:
        return rule(*arguments)
    except Exception as error:  # a user's flow may fail in any way
        return f"float64 {raised(error)}"


shapes = _contract_check(
    "shapes",
    cause="a direction loses or adds dimensions, or a log-determinant is not one number per event",
    remedy="return log-determinants of shape (batch,), summed: log_det.flatten(1).sum(1); keep factored-out parts in z",
    needs=(),
)
values_are_finite = _contract_check(
    "values are finite",
    cause="scales overflow, there is a division by 0 or a logarithm outside its domain, or the training diverged",
    remedy="model.flow.scale_activation=tanh; if the training diverged, go back to an earlier checkpoint, then "
    "optimizer.lr=1e-4 with trainer.gradient_clip_val=100",
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
    needs=SOUND,
)
state_is_left_alone = _contract_check(
    "state is left alone",
    cause="a layer updates its statistics or counters in evaluation mode",
    remedy="update buffers only if self.training",
    needs=SOUND,
)
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
    remedy="flow.eval(), and running statistics in evaluation; or model.norm=actnorm; log-determinants per event",
    needs=(*SOUND, same_input_same_output),
)

CONTRACT = (
    *SOUND,
    dtypes,
    state_is_left_alone,
    same_input_same_output,
    calls_are_independent,
    events_do_not_mix,
)
