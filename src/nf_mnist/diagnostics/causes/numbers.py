"""Why log-likelihoods are infinite or inexact: the first cause that an experiment shows."""

import torch
from torch import Tensor

from nf_mnist.diagnostics.access.batch import Batch
from nf_mnist.diagnostics.access.forms import Bound
from nf_mnist.diagnostics.access.isolation import copied
from nf_mnist.diagnostics.access.layers import ReachedLayer, WithContext, innermost_layers
from nf_mnist.diagnostics.causes.experiments import first_operation_not_finite
from nf_mnist.diagnostics.causes.values import Cause
from nf_mnist.diagnostics.task import N_PRECISE, DiagnosisTask

COARSE = 2e-4  # relative error of a layer in float32, which is 1e-6 for most layers and 2e-3 in bfloat16


@torch.no_grad()
def cause_in_float32(task: DiagnosisTask, few: Batch) -> Cause | None:
    """Return that numbers leave the range of float32; None if results are not finite in float64 either.

    Args:
        task: The flow and its images.
        few: Images whose latents or log-likelihoods are not finite in float32.
    """
    (precise, _), in_double = task.precise, few.double()
    if task.slack != 1:
        return None
    try:
        z, log_prob = precise(in_double.x, in_double.context)
    except Exception:  # a user's flow may fail in any way
        return None
    if not (z.isfinite().all() and log_prob.isfinite().all()):
        return None
    operation = first_operation_not_finite(WithContext(copied(task.flow.bijector), few.context), few.x)
    how = ""
    if operation is not None:
        how = f", in {operation.name} of numbers from {operation.least:.3g} to {operation.largest:.3g}"
    return Cause(
        f"all is finite in float64, so that numbers leave the range of float32{how}: a product or an exponential "
        "becomes 0 or infinite",
        "add logarithms instead of taking the logarithm of a product, and bound what is exponentiated",
    )


@torch.no_grad()
def cause_in_probability_zero(task: DiagnosisTask, few: Batch) -> Cause | None:
    """Return which layer gives images probability 0; None if none does.

    Args:
        task: The flow and its images.
        few: Images whose log-likelihoods are not finite.
    """
    for layer in innermost_layers(task.flow, few):
        z, log_det = layer.map.forward_and_log_det(layer.x)
        if z.isfinite().all() and log_det.isneginf().any():
            return Cause(
                f"{layer.title} gives some values probability 0: its log-determinant is minus infinity and its latents "
                "are finite, as of a table of counts for values that training did not show",
                "smooth what is counted, so that each value has some probability",
            )
    return None


@torch.no_grad()
def cause_in_low_precision(task: DiagnosisTask) -> Cause | None:
    """Return which layer computes in a lower precision than float32; None if none does, or if that cannot be told."""
    if task.slack != 1:
        return None
    exact = {layer.name: layer.map for layer in innermost_layers(*task.precise)}
    for layer in innermost_layers(task.flow, task.batch.first(N_PRECISE)):
        try:
            forward, inverse = _errors_of_both(layer, exact[layer.name])
        except Exception:  # a user's layer may fail in any way, or have no inverse of its own
            continue
        if max(forward, inverse) > COARSE:
            way = "forward" if forward > COARSE else "its inverse"
            return Cause(
                f"{layer.title} computes in a lower precision than float32: what {way} returns is off by "
                f"{max(forward, inverse):.2g} of its size, and exact in float64. Rounding in bfloat16 makes some 0.003",
                "leave the map out of autocast, and compute networks alone in a low precision",
            )
    return None


def _errors_of_both(layer: ReachedLayer, exact: Bound) -> tuple[float, float]:
    """Return the relative errors of both directions of a layer, against those of the same layer in float64."""
    z, _ = layer.map.forward_and_log_det(layer.x)
    x, _ = layer.map.inverse_and_log_det(z)
    exact_z, exact_x = exact.forward_and_log_det(layer.x.double())[0], exact.inverse_and_log_det(z.double())[0]
    return _relative_error(z, exact_z), _relative_error(x, exact_x)


def _relative_error(values: Tensor, exact: Tensor) -> float:
    return ((values - exact).square().mean().sqrt() / exact.square().mean().sqrt().clamp(min=1e-30)).item()
