"""The check that training follows the gradient of log p."""

import torch

from nf_mnist.diagnostics.access.layers import WithContext
from nf_mnist.diagnostics.base import Measurement, NotMeasured, check
from nf_mnist.diagnostics.causes.experiments import is_solver
from nf_mnist.diagnostics.checks.contract import SOUND, calls_are_independent, same_input_same_output
from nf_mnist.diagnostics.measures.gradients import slopes_of_log_p, unreached_parameters
from nf_mnist.diagnostics.task import DiagnosisTask

N_DIRECTIONS = 3
EXACT = 1e-3  # of the slope: more than rounding and the kinks of ReLUs
TERMS = {"base": "log-density of the base", "log_det": "log-determinant"}


@check(
    "gradients are those of log p",
    unit="of the slope",
    warn=EXACT,
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
    pairs = [pair for of_direction in slopes for pair in of_direction._asdict().items()]
    if task.is_estimate:
        pairs = [pair for pair in pairs if pair[0] == "base"]
    exact = [pair for pair in pairs if pair[1].is_resolved]
    if not exact:
        raise NotMeasured("differences of log p are lost in rounding: a part of it is computed in float32")
    term, steepest = max(exact, key=lambda pair: pair[1].error)
    if steepest.error > EXACT and steepest.error_in_training <= EXACT:
        raise NotMeasured(f"the {TERMS[term]} has its gradient in training only, not in evaluation mode")
    text = f"{TERMS[term]}: autograd says {steepest.claimed:.6g} nats, a difference {steepest.coarse[0]:.6g}"
    if steepest.error <= EXACT:
        return Measurement(steepest.error, text)
    lost = unreached_parameters(flow, few.x, few.context, term)
    if not lost and is_solver(WithContext(flow.bijector, few.context), few.x, is_inverse=False):
        raise NotMeasured("log p is the integral of a solver, and no smooth function where its steps adapt")
    if not lost:
        return Measurement(steepest.error, text)
    cause = (
        f"the {TERMS[term]} depends on {len(lost)} parameters that its gradient does not reach, such as {lost[0]}: it "
        "is detached between them and its end, so that training does not move them towards a larger log p"
    )
    return Measurement(steepest.error, text, cause)


GRADIENTS = (gradients_are_those_of_log_p,)
