"""Why an inverse that iterates, or an integral, does not come back: the first cause that an experiment shows."""

from typing import Any

import torch
from torch import Tensor, nn

from nf_mnist.diagnostics.access.invertible import Invertible
from nf_mnist.diagnostics.access.isolation import copied
from nf_mnist.diagnostics.causes.dependencies import depend_in_a_circle, has_wrong_log_det
from nf_mnist.diagnostics.causes.experiments import MANY, errors_of_corrections, is_solver, network_calls, shrinks
from nf_mnist.diagnostics.causes.values import Cause


def cause_in_a_solver(bijector: Invertible, x: Tensor, jacobian: Tensor) -> Cause | None:
    """Return why an inverse that iterates, or an integral, does not end where it should; None if it does neither.

    Args:
        bijector: The map, or the layer that fails.
        x: Events that do not come back, shape (batch, *event).
        jacobian: The Jacobian of forward at the first event, shape (dims, dims).
    """
    if not is_solver(bijector, x):
        return None
    if network_calls(bijector, x) >= MANY:
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
    finer = with_twice_the_steps(bijector)
    if finer is None:
        return Cause(
            "both directions call a network many times, as the integral of an equation does; whether its steps are too "
            "coarse, or whether the inverse runs over other times or with another sign, is not known",
            "integrate from the last time to the first in the inverse, and try twice as many steps",
        )
    errors = []
    for map_ in (bijector, finer):
        with torch.no_grad():
            z, _ = map_.forward_and_log_det(x)
            errors.append((map_.inverse_and_log_det(z)[0].reshape(x.shape) - x).abs().max().item())
    text = f"with twice as many steps the error falls from {errors[0]:.2g} to {errors[1]:.2g}"
    if errors[1] < 0.7 * errors[0]:
        return Cause(f"the steps of the integral are too coarse: {text}", "take more steps, or a smaller tolerance")
    return Cause(
        f"the inverse does not integrate back along the path of forward, and more steps do not help: {text}. It runs "
        "over other times, or with another sign",
        "integrate the same velocity from the last time to the first",
    )


def with_twice_the_steps(bijector: Invertible) -> Any:
    """Return a copy whose numbers of steps are doubled and tolerances reduced; None if no attribute is named so."""
    finer, is_found = copied(bijector), False
    for module in finer.modules() if isinstance(finer, nn.Module) else ():
        for key, value in vars(module).items():
            if "step" in key and isinstance(value, int) and not isinstance(value, bool) and value > 1:
                setattr(module, key, 2 * value)
                is_found = True
            elif key in ("rtol", "atol") and isinstance(value, float):
                setattr(module, key, value / 100)
                is_found = True
    return finer if is_found else None


def how_steep(bijector: Invertible, x: Tensor, jacobian: Tensor) -> str:
    """Say that the map less the identity is no contraction at an event; empty if it is, or if elements form an order.

    An autoregression computes elements in an order, and needs no contraction. If its elements see one another all the
    same, its log-determinant is wrong, too.
    """
    steepness = torch.linalg.matrix_norm(jacobian - torch.eye(len(jacobian)).to(jacobian), 2).item()
    if steepness <= 1 or not depend_in_a_circle(jacobian) or has_wrong_log_det(bijector, x, jacobian):
        return ""
    return f": as x + g(x), its g is no contraction, with a Lipschitz constant of at least {steepness:.3g}"
