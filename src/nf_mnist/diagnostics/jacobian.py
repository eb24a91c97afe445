"""What autograd tells of a map: the exact log-determinant, and how strongly each direction stretches."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from nf_mnist.diagnostics.contract import Invertible

CHUNK = 56  # rows of the Jacobian at a time


class LogDet(NamedTuple):
    """Log-determinants of one event in nats.

    Attributes:
        claimed: What the map returns.
        exact: The log-determinant of its Jacobian.
    """

    claimed: float
    exact: float


class Stretch(NamedTuple):
    """The largest singular values of the Jacobians at one event.

    Attributes:
        forward: From data to latent.
        inverse: From latent to data.
    """

    forward: float
    inverse: float


def exact_log_det(bijector: Invertible, x: Tensor) -> LogDet:
    """Compare the log-determinant of an event with that of autograd's Jacobian.

    Args:
        bijector: The map, in evaluation mode and preferably in float64.
        x: One event, shape (1, *event).
    """

    def latent(flat: Tensor) -> Tensor:
        return bijector.forward_and_log_det(flat.reshape(x.shape))[0].flatten()

    jacobian = torch.func.jacrev(latent, chunk_size=CHUNK)(x.flatten())
    with torch.no_grad():
        claimed = bijector.forward_and_log_det(x)[1].sum().item()
    return LogDet(claimed, torch.linalg.slogdet(jacobian.double()).logabsdet.item())


def relation(claimed: float, exact: float, dims: int) -> str:
    """Return how a claimed log-determinant relates to the exact one, in words; empty if there is no simple relation."""

    def close(value: float) -> bool:
        return abs(value - exact) <= 1e-4 * abs(exact)

    if exact in (float("inf"), float("-inf")):
        return "the Jacobian is singular: the map is not one to one, or autograd does not see all of it"
    if close(-claimed):
        return "its sign is wrong: it is that of the other direction"
    if claimed == 0:
        return "it is not counted: 0 is returned"
    if close(claimed * dims):
        return f"it is averaged over the {dims} dimensions where it has to be summed: mean in place of sum"
    for factor in range(2, dims + 1):
        if close(claimed * factor):
            return f"it is {factor} times too small: not summed over {factor} elements, or a mean in place of a sum"
        if close(claimed / factor):
            return f"it is {factor} times too large: counted {factor} times"
    return ""


def stretch(bijector: Invertible, x: Tensor, n_iterations: int = 30) -> Stretch:
    """Estimate the local Lipschitz constants of both directions at an event.

    Power iteration on J'J gives a lower bound, which is tight once the iteration has converged. The constant of the
    inverse is measured on the inverse itself, so that it also shows faults that only the inverse has.

    Args:
        bijector: The map, in evaluation mode.
        x: One event, shape (1, *event).
        n_iterations: Number of power iterations.
    """
    with torch.no_grad():
        z = bijector.forward_and_log_det(x)[0]
    return Stretch(
        _largest_singular_value(lambda value: bijector.forward_and_log_det(value)[0], x, n_iterations),
        _largest_singular_value(lambda value: bijector.inverse_and_log_det(value)[0], z, n_iterations),
    )


def _largest_singular_value(function: Callable[[Tensor], Tensor], at: Tensor, n_iterations: int) -> float:
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(at.shape, generator=generator).to(at)
    value = 0.0
    transposed = torch.func.vjp(function, at)[1]
    for _ in range(n_iterations):
        direction = direction / direction.norm()
        image = torch.func.jvp(function, (at,), (direction,))[1]
        value = image.norm().item()
        (direction,) = transposed(image)
    return value
