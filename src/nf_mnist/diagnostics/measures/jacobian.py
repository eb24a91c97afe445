"""What autograd tells of a map: the exact log-determinant, and how strongly each direction stretches."""

import math
import warnings
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from nf_mnist.diagnostics.access.invertible import Invertible
from nf_mnist.diagnostics.access.isolation import copied

DIFFERENCE_ERROR = 1e-6  # of a log-determinant by differences, in nats per dimension
CHUNK = 56  # rows of the Jacobian at a time


class LogDet(NamedTuple):
    """Log-determinants of one event in nats.

    Attributes:
        claimed: What the map returns.
        exact: The log-determinant of its Jacobian.
        error: Error of the exact one, which is not 0 if the Jacobian is made of differences.
    """

    claimed: float
    exact: float
    error: float = 0.0

    @property
    def gap(self) -> float:
        """By how many nats the two differ, less the error; infinite if a number is NaN."""
        gap = abs(self.claimed - self.exact)
        return math.inf if math.isnan(gap) else max(gap - self.error, 0.0)


class Stretch(NamedTuple):
    """The largest singular values of the Jacobians at one event.

    Attributes:
        forward: From data to latent.
        inverse: From latent to data.
    """

    forward: float
    inverse: float


def exact_log_det(bijector: Invertible, x: Tensor) -> LogDet:
    """Compare the log-determinant of an event with that of its Jacobian.

    Args:
        bijector: The map, in evaluation mode and preferably in float64.
        x: One event, shape (1, *event).
    """
    jacobian = _by_autograd(bijector, x)
    error = 0.0 if jacobian is not None else DIFFERENCE_ERROR * x.numel()
    exact = torch.linalg.slogdet(differences(bijector, x) if jacobian is None else jacobian).logabsdet.item()
    with torch.no_grad():
        claimed = bijector.forward_and_log_det(x)[1].sum().item()
    return LogDet(claimed, exact, error)


def jacobian_of(bijector: Invertible, x: Tensor) -> Tensor:
    """Return the Jacobian of a map at one event in float64, shape (dims, dims).

    It is autograd's. Where autograd fails, or sees no part of an output, differences take its place: a user's map may
    detach a value, and a solver may have a backward pass that torch cannot vectorize.

    Args:
        bijector: The map, in evaluation mode.
        x: One event, shape (1, *event).
    """
    jacobian = _by_autograd(bijector, x)
    return differences(bijector, x) if jacobian is None else jacobian


def _by_autograd(bijector: Invertible, x: Tensor) -> Tensor | None:
    """Return the Jacobian from autograd; None if that fails, or if a row or a column of it is 0."""
    mapped = copied(bijector)  # which may keep tensors of torch.func that are of no use afterwards

    def latent(flat: Tensor) -> Tensor:
        return mapped.forward_and_log_det(flat.reshape(x.shape))[0].flatten()

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "There is a performance drop")  # of operations that torch does not batch
            jacobian = torch.func.jacrev(latent, chunk_size=CHUNK)(x.flatten()).detach().double()
    except Exception:  # a user's map may fail under torch.func in any way
        return None
    is_seen = (jacobian != 0).any(0).all() and (jacobian != 0).any(1).all()
    return jacobian if is_seen else None


@torch.no_grad()
def differences(bijector: Invertible, x: Tensor) -> Tensor:
    """Return the Jacobian of a map at one event from central differences, shape (dims, dims).

    Steps are shorter near 0 and 1, where a logit bends within a small fraction of the distance.
    """
    distance = torch.minimum(x.abs(), (1 - x).abs()).flatten()
    sizes = torch.finfo(x.dtype).eps ** (1 / 3) * distance.clamp(1e-3, 1)
    columns = []
    for rows in torch.arange(x.numel(), device=x.device).split(CHUNK):
        shift = torch.zeros(len(rows), x.numel()).to(x).scatter_(1, rows[:, None], sizes[rows, None])
        shift = shift.reshape(-1, *x.shape[1:])
        above, below = (bijector.forward_and_log_det(x + sign * shift)[0].flatten(1) for sign in (1, -1))
        columns.append((above - below) / (2 * sizes[rows, None]))
    return torch.cat(columns).T.double()


def stretch(bijector: Invertible, x: Tensor, n_iterations: int = 30) -> Stretch:
    """Estimate the local Lipschitz constants of both directions at an event.

    Power iteration on J'J gives a lower bound, which is tight once the iteration has converged. The constant of the
    inverse is measured on the inverse itself, so that it also shows faults that only the inverse has.

    Args:
        bijector: The map, in evaluation mode.
        x: One event, shape (1, *event).
        n_iterations: Number of power iterations.
    """
    bijector = copied(bijector)  # which may keep tensors of torch.func that are of no use afterwards
    with torch.no_grad():
        z = bijector.forward_and_log_det(x)[0]
    return Stretch(
        _largest_singular_value(lambda value: bijector.forward_and_log_det(value)[0], x, n_iterations),
        _largest_singular_value(lambda value: bijector.inverse_and_log_det(value)[0], z, n_iterations),
    )


Product = Callable[[Tensor], Tensor]


def _largest_singular_value(function: Product, at: Tensor, n_iterations: int) -> float:
    try:
        return _power_iteration(*_by_transforms(function, at), at, n_iterations)
    except RuntimeError:  # a function of torch.autograd without setup_context, as in torchdiffeq's solvers
        return _power_iteration(*_by_two_backward_passes(function, at), at, n_iterations)


def _power_iteration(times_jacobian: Product, times_transposed: Product, at: Tensor, n_iterations: int) -> float:
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(at.shape, generator=generator).to(at)
    value = 0.0
    for _ in range(n_iterations):
        direction = direction / direction.norm()
        image = times_jacobian(direction)
        value = image.norm().item()
        direction = times_transposed(image)
    return value


def _by_transforms(function: Product, at: Tensor) -> tuple[Product, Product]:
    """Return the products of vectors with the Jacobian at a point, and with its transpose, by torch.func."""
    transposed = torch.func.vjp(function, at)[1]
    return lambda u: torch.func.jvp(function, (at,), (u,))[1], lambda v: transposed(v)[0]


def _by_two_backward_passes(function: Product, at: Tensor) -> tuple[Product, Product]:
    """Return the same products by the backward pass, and by the backward pass of it: it is linear in its vector."""
    with torch.enable_grad():
        x = at.detach().requires_grad_()
        y = function(x)
        v = torch.zeros_like(y, requires_grad=True)
        (pulled,) = torch.autograd.grad(y, x, v, create_graph=True)

    def times_jacobian(u: Tensor) -> Tensor:
        return torch.autograd.grad(pulled, v, u, retain_graph=True)[0]

    def times_transposed(image: Tensor) -> Tensor:
        return torch.autograd.grad(y, x, image, retain_graph=True)[0]

    return times_jacobian, times_transposed
