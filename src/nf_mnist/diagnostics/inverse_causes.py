"""Why an inverse does not undo forward: the first cause that an experiment shows."""

from typing import Any

import torch
from torch import Tensor, nn

from nf_mnist.diagnostics.causes import Cause
from nf_mnist.diagnostics.dependencies import depend_in_a_circle, has_wrong_log_det, sees_itself
from nf_mnist.diagnostics.experiments import (
    MANY,
    errors_of_corrections,
    is_solver,
    network_calls,
    one_sided_parameters,
    rounding_error,
    shrinks,
)
from nf_mnist.diagnostics.invertible import Invertible
from nf_mnist.diagnostics.isolation import copied
from nf_mnist.diagnostics.jacobian import jacobian_of
from nf_mnist.diagnostics.rounding import rounds_to

ROUNDING = 100.0  # times what the last digit of z moves x is still rounding


def cause_of_wrong_inverse(bijector: Invertible, x: Tensor) -> Cause | None:
    """Return why data do not come back; None if no experiment shows it.

    Args:
        bijector: The map, or the layer that fails.
        x: Events that do not come back, shape (batch, *event).
    """
    if how := rounds_to(bijector, x):
        return Cause(
            f"values are rounded: {how}. Different inputs become one output, so that the map is not one to one",
            "compute in the precision of the input: no half(), float(), round() or floor() on what passes through",
        )
    if is_permuted(bijector, x):
        return Cause(
            "the inverse returns the right values at other places: it leaves out a permutation of forward, undoes it "
            "twice or by the wrong order",
            "undo each permutation of forward by its inverse, in the opposite order of the layers",
        )
    if is_rounding(bijector, x):
        return Cause(
            "rounding explains it: a change of z in its last digit moves the data as far, so the inverse is right and "
            "the map magnifies too much, as after divergence",
            "go back to an earlier checkpoint, then a lower learning rate; bound the scales",
        )
    jacobian = jacobian_of(bijector, x[:1])
    if sees_itself(bijector, x[:1], jacobian):
        return SEES_ITSELF
    if is_many_to_one(bijector, x):
        return Cause(
            "the map is not one to one: an event comes back as another one that has the same latent. It folds space or "
            f"cuts values off{_how_steep(bijector, x[:1], jacobian)}",
            "constrain the layer so that it cannot fold: a residual block to a contraction, a planar layer to w u > -1",
        )
    one_sided = one_sided_parameters(bijector, x)
    if one_sided:
        name, direction = next(iter(one_sided.items()))
        other = "inverse" if direction == "forward" else "forward"
        return Cause(
            f"{name} changes {direction} but not {other}, which uses an older copy of it or leaves it out",
            f"compute what {other} needs from {name} in each call, and keep no copy of it",
        )
    return _cause_in_a_solver(bijector, x, jacobian)


SEES_ITSELF = Cause(
    "an element that is transformed sees itself or another one that is: the mask lets it through to the network, and "
    "the Jacobian is not triangular",
    "give the network nothing but the elements that pass unchanged",
)


@torch.no_grad()
def is_permuted(bijector: Invertible, x: Tensor) -> bool:
    """Return whether each event comes back with all its values, which differ, at other places."""
    back = bijector.inverse_and_log_det(bijector.forward_and_log_det(x)[0])[0].flatten(1)
    sent = x.flatten(1)
    values = sent.sort(1).values
    scale = 1e-6 * (values[:, -1:] - values[:, :1])
    has_moved = ((back - sent).abs() > 10 * scale).any()
    return bool(((back.sort(1).values - values).abs() <= scale).all() and has_moved and (scale > 0).all())


def _how_steep(bijector: Invertible, x: Tensor, jacobian: Tensor) -> str:
    """Say that the map less the identity is no contraction at an event; empty if it is, or if elements form an order.

    An autoregression computes elements in an order, and needs no contraction. If its elements see one another all the
    same, its log-determinant is wrong, too.
    """
    steepness = torch.linalg.matrix_norm(jacobian - torch.eye(len(jacobian)).to(jacobian), 2).item()
    if steepness <= 1 or not depend_in_a_circle(jacobian) or has_wrong_log_det(bijector, x, jacobian):
        return ""
    return f": as x + g(x), its g is no contraction, with a Lipschitz constant of at least {steepness:.3g}"


@torch.no_grad()
def is_rounding(bijector: Invertible, x: Tensor) -> bool:
    """Return whether the round trip errs by no more than a change of z in its last digit makes it err."""
    z, _ = bijector.forward_and_log_det(x)
    error = (bijector.inverse_and_log_det(z)[0].reshape(x.shape) - x).abs().max().item()
    return error <= ROUNDING * rounding_error(bijector, x)


@torch.no_grad()
def is_many_to_one(bijector: Invertible, x: Tensor) -> bool:
    """Return whether an event comes back as another one, far from it, that has the same latent."""
    z, _ = bijector.forward_and_log_det(x)
    back = bijector.inverse_and_log_det(z)[0].reshape(x.shape)
    again, _ = bijector.forward_and_log_det(back)
    is_other = (back - x).abs().flatten(1).amax(1) > 1e-6 * (1 + x.abs().max())
    is_same = (again - z).abs().flatten(1).amax(1) <= 1e-12 * (1 + z.abs().max())
    return bool((is_other & is_same).any())


def _cause_in_a_solver(bijector: Invertible, x: Tensor, jacobian: Tensor) -> Cause | None:
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
    if steep := _how_steep(bijector, x[:1], jacobian):
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
