"""Why an inverse that iterates, or an integral, does not come back: the first cause that an experiment shows."""

import contextlib
from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from nf_mnist.diagnostics.access.invertible import Invertible, decoded_again
from nf_mnist.diagnostics.access.isolation import copied
from nf_mnist.diagnostics.causes.dependencies import depend_in_a_circle, has_wrong_log_det
from nf_mnist.diagnostics.causes.experiments import errors_of_corrections, is_integral, is_solver, shrinks
from nf_mnist.diagnostics.causes.values import Cause
from nf_mnist.errors import ConvergenceError

N_FINER = 2  # times that steps are made finer
SHRINKS = 0.7  # an error that finer steps make smaller than this share of it is that of the steps


def cause_in_a_solver(bijector: Invertible, x: Tensor, jacobian: Tensor) -> Cause | None:
    """Return why an inverse that iterates, or an integral, does not end where it should; None if it does neither.

    Args:
        bijector: The map, or the layer that fails.
        x: Events that do not come back, shape (batch, *event).
        jacobian: The Jacobian of forward at the first event, shape (dims, dims).
    """
    if not is_solver(bijector, x):
        return None
    if is_integral(bijector, x):
        return _cause_in_an_integral(bijector, x)
    errors = errors_of_corrections(bijector, x)
    if shrinks(errors):
        return Cause(
            "the inverse iterates and stops too early: it has not converged. Correcting it by its own error makes that "
            f"error {errors[0]:.2g} in z, then {errors[1]:.2g}, then {errors[2]:.2g}",
            "iterate until the residual is small enough, not a fixed number of times",
        )
    if steep := how_steep(bijector, x[:1], jacobian):
        return Cause(
            f"the inverse iterates and does not converge{steep}",
            "normalise each layer of g to a spectral norm below 1, and save the vectors of the power iterations",
        )
    return Cause(
        "the inverse calls its network again and again, and correcting it by its own error does not help. An iteration "
        "converges to something else, or not at all; an autoregression computes elements in another order, or from "
        "other ones, than forward. Which of these is not known",
        "look at the residual after each iteration, or at the first element that differs",
    )


def _cause_in_an_integral(bijector: Invertible, x: Tensor) -> Cause | None:
    """Return why an integral does not run back: too few steps, if more of them help, or something else."""
    if coarse := cause_in_coarse_steps(bijector, x):
        return coarse
    if not any(True for _ in with_finer_steps(bijector)):
        return Cause(
            "both directions call a network many times, as the integral of an equation does; whether its steps are too "
            "coarse, or whether the inverse runs over other times or with another sign, is not known",
            "integrate from the last time to the first in the inverse, and try twice as many steps",
        )
    return Cause(
        "the inverse does not integrate back along the path of forward, and more steps do not help. It runs over other "
        "times, or with another sign",
        "integrate the same velocity from the last time to the first",
    )


@torch.no_grad()
def cause_in_coarse_steps(bijector: Invertible, x: Tensor) -> Cause | None:
    """Return that the steps of an integral are too coarse, if data come back better with finer ones; else None.

    Args:
        bijector: The map.
        x: Events that do not come back, shape (batch, *event).
    """
    if not is_integral(bijector, x):
        return None
    error = (decoded_again(bijector, x) - x).abs().max().item()
    for finer in with_finer_steps(bijector):
        with contextlib.suppress(ConvergenceError):
            smaller = (decoded_again(finer, x) - x).abs().max().item()
            if smaller < SHRINKS * error:
                return Cause(
                    "the steps of the integral are too coarse: with more of them, or a smaller tolerance, the error "
                    f"falls from {error:.2g} to {smaller:.2g}",
                    "take more steps, or a smaller tolerance",
                )
    return None


def with_finer_steps(bijector: Invertible) -> Iterator[Any]:
    """Yield copies, each with twice the numbers of steps and a hundredth of the tolerances of the one before.

    Attributes of modules are looked at, and of plain objects that modules hold, such as a solver. Nothing is yielded if
    none is named so.
    """
    for _ in range(N_FINER):
        finer = _with_finer_steps(bijector)
        if finer is None:
            return
        yield finer
        bijector = finer


def _with_finer_steps(bijector: Invertible) -> Any:
    finer, is_found = copied(bijector), False
    for attributes in _attributes(finer):
        for key, value in attributes.items():
            if "step" in key and isinstance(value, int) and not isinstance(value, bool) and value > 1:
                attributes[key], is_found = 2 * value, True
            elif (key in ("rtol", "atol") or "tolerance" in key) and isinstance(value, float):
                attributes[key], is_found = value / 100, True
    return finer if is_found else None


def _attributes(bijector: Invertible) -> list[dict[str, Any]]:
    """Return the attributes of the modules of a map, and those of plain objects that the modules hold."""
    modules = list(bijector.modules()) if isinstance(bijector, nn.Module) else []
    held = {id(value): value for module in modules for value in vars(module).values() if _is_plain(value)}
    return [vars(owner) for owner in (*modules, *held.values())]


def _is_plain(value: Any) -> bool:
    shared = type | ModuleType | FunctionType  # which a deep copy does not copy
    return hasattr(value, "__dict__") and not isinstance(value, shared | nn.Module | Tensor)


def how_steep(bijector: Invertible, x: Tensor, jacobian: Tensor) -> str:
    """Say that the map less the identity is no contraction at an event; empty if it is, or if elements form an order.

    An autoregression computes elements in an order, and needs no contraction. If its elements see one another all the
    same, its log-determinant is wrong, too.
    """
    steepness = torch.linalg.matrix_norm(jacobian - torch.eye(len(jacobian)).to(jacobian), 2).item()
    if steepness <= 1 or not depend_in_a_circle(jacobian) or has_wrong_log_det(bijector, x, jacobian):
        return ""
    return f": as x + g(x), its g is no contraction, with a Lipschitz constant of at least {steepness:.3g}"
