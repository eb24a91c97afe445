"""Why an inverse does not undo forward: the first cause that an experiment shows."""

import torch
from torch import Tensor

from nf_mnist.diagnostics.causes import Cause
from nf_mnist.diagnostics.contract import Invertible
from nf_mnist.diagnostics.experiments import (
    errors_of_corrections,
    is_solver,
    one_sided_parameters,
    rounding_error,
    sees_itself,
    shrinks,
)
from nf_mnist.diagnostics.jacobian import jacobian_of

ROUNDING = 100.0  # times what the last digit of z moves x is still rounding


def cause_of_wrong_inverse(bijector: Invertible, x: Tensor) -> Cause | None:
    """Return why data do not come back; None if no experiment shows it.

    Args:
        bijector: The map, or the layer that fails.
        x: Events that do not come back, shape (batch, *event).
    """
    if is_rounding(bijector, x):
        return Cause(
            "rounding explains it: a change of z in its last digit moves the data as far, so the inverse is right and "
            "the map magnifies too much, as after divergence",
            "go back to an earlier checkpoint, then a lower learning rate; bound the scales",
        )
    one_sided = one_sided_parameters(bijector, x)
    if one_sided:
        name, direction = next(iter(one_sided.items()))
        other = "inverse" if direction == "forward" else "forward"
        return Cause(
            f"{name} changes {direction} but not {other}, which uses an older copy of it or leaves it out",
            f"compute what {other} needs from {name} in each call, and keep no copy of it",
        )
    if sees_itself(bijector, x[:1], jacobian_of(bijector, x[:1])):
        return SEES_ITSELF
    return _cause_in_a_solver(bijector, x)


SEES_ITSELF = Cause(
    "an element that is transformed sees itself or another one that is: the mask lets it through to the network, and "
    "the Jacobian is not triangular",
    "give the network nothing but the elements that pass unchanged",
)


@torch.no_grad()
def is_rounding(bijector: Invertible, x: Tensor) -> bool:
    """Return whether the round trip errs by no more than a change of z in its last digit makes it err."""
    z, _ = bijector.forward_and_log_det(x)
    error = (bijector.inverse_and_log_det(z)[0].reshape(x.shape) - x).abs().max().item()
    return error <= ROUNDING * rounding_error(bijector, x)


def _cause_in_a_solver(bijector: Invertible, x: Tensor) -> Cause | None:
    if not is_solver(bijector, x):
        return None
    errors = errors_of_corrections(bijector, x)
    if shrinks(errors):
        return Cause(
            "the inverse iterates and stops too early: it has not converged. Correcting it by its own error makes that "
            f"error {errors[0]:.2g} in z, then {errors[1]:.2g}, then {errors[2]:.2g}",
            "iterate until the residual is small enough, not a fixed number of times",
        )
    return Cause(
        "the inverse iterates, and correcting it by its own error does not help: it converges to something else, or "
        "not at all; why is not known",
        "look at the residual after each iteration",
    )
