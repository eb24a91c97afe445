"""Continuous flows: data moves to the latent along a velocity field (Chen et al. 2018, "Neural ODEs")."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nf_mnist.bijectors.base import Bijector
from nf_mnist.bijectors.ode import OdeSolver
from nf_mnist.bijectors.vector_jacobian import random_signs, vector_jacobian

Velocity = Callable[[Tensor], Tensor]
N_CONTROLLED = 2  # integrals whose errors choose adaptive steps: states and log-determinants, and not costs
CHUNK = 64  # backward passes of an exact divergence in one call; more take more memory


class Derivative(NamedTuple):
    """What a velocity field does at a state.

    Attributes:
        velocity: Shape (batch, *event).
        divergence: Trace of the velocity's Jacobian J, or an estimate of it, shape (batch,).
        frobenius: Squared Frobenius norm of J, or an estimate of it, shape (batch,).
    """

    velocity: Tensor
    divergence: Tensor
    frobenius: Tensor


class Transported(NamedTuple):
    """Where events go, and what their trajectories cost.

    Attributes:
        state: Shape (batch, *event).
        log_det: Log-determinant in nats, shape (batch,).
        kinetic: Integral of the squared norm of the velocity, shape (batch,).
        frobenius: Integral of the squared Frobenius norm of the velocity's Jacobian, shape (batch,).
    """

    state: Tensor
    log_det: Tensor
    kinetic: Tensor
    frobenius: Tensor


class ContinuousMap(Bijector):
    """Solve ``dx/dt = v(x, t)`` from data at time 0 to the latent at time 1.

    The log-determinant is the integral of the divergence of v (Chen et al. 2018, theorem 1). Of events with few
    elements the divergence is exact, at a cost of one backward pass for each element. Of others it is Hutchinson's
    estimate ``e' (dv/dx) e`` with random signs e, drawn once for each solution (Grathwohl et al. 2019, "FFJORD",
    section 3.1): the log-determinant is then right in the mean, and it differs from call to call. Adaptive steps are
    chosen by the errors of states and log-determinants, so that latents differ, too, within the solver's tolerance.

    Args:
        velocity: Maps states, shape (batch, *event), times, shape (batch,), and the context to velocities.
        solver: Solves the equation.
        max_exact_dims: Number of elements of an event up to which the divergence is exact.
    """

    def __init__(self, velocity: nn.Module, solver: OdeSolver, max_exact_dims: int = 16) -> None:
        super().__init__()
        self.velocity = velocity
        self.solver = solver
        self.max_exact_dims = max_exact_dims

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z, log_det, *_ = self.transport_and_costs(x, context, 0.0, 1.0)
        return z, log_det

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x, log_det, *_ = self.transport_and_costs(z, context, 1.0, 0.0)
        return x, log_det

    def transport(
        self, state: Tensor, context: Tensor | None, begin: float, end: float, solver: OdeSolver | None = None
    ) -> Tensor:
        """Return where a state at time ``begin`` is at time ``end``, without the log-determinant.

        Args:
            state: Shape (batch, *event).
            context: Context of the velocities.
            begin: 0 for data, 1 for latents.
            end: Time of the result.
            solver: Another solver than the map's own.
        """
        (moved,) = (solver or self.solver).solve(
            lambda time, parts: (self._at(time, context)(parts[0]),), (state,), begin, end
        )
        return moved

    @property
    def estimates_log_det(self) -> bool:
        """True: those of images are estimates."""
        return True

    def transport_and_costs(
        self, state: Tensor, context: Tensor | None, begin: float, end: float, solver: OdeSolver | None = None
    ) -> Transported:
        """Return where a state at time ``begin`` is at time ``end``, with the log-determinant and the costs.

        The costs are those of Finlay et al. 2020, "How to train your neural ODE". The arguments are those of
        :meth:`transport`.
        """
        signs = None if state[0].numel() <= self.max_exact_dims else random_signs(state)

        def derivative(time: Tensor, parts: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            velocity, divergence, frobenius = _derivative_of(self._at(time, context), parts[0], signs)
            sign = 1.0 if end > begin else -1.0  # costs grow in both directions of time
            return velocity, divergence, sign * velocity.square().flatten(1).sum(1), sign * frobenius

        zeros = (state.new_zeros(len(state)) for _ in range(3))
        return Transported(*(solver or self.solver).solve(derivative, (state, *zeros), begin, end, N_CONTROLLED))

    def _at(self, time: Tensor, context: Tensor | None) -> Velocity:
        """Return the velocity field at a time, a tensor of no dimensions."""
        return lambda state: self.velocity(state, time.expand(len(state)), context).to(state.dtype)


def _derivative_of(velocity: Velocity, state: Tensor, signs: Tensor | None) -> Derivative:
    """Return the derivatives of a velocity field: estimates by signs, or the exact ones if there are none."""
    return exact_derivative(velocity, state) if signs is None else estimated_derivative(velocity, state, signs)


def exact_derivative(velocity: Velocity, state: Tensor) -> Derivative:
    """Return the derivatives of a velocity field, from one backward pass for each element of an event.

    These passes share one forward pass, and 64 of them are one call.

    Args:
        velocity: Maps states, shape (batch, *event), to velocities; events do not affect each other.
        state: The states.
    """
    moved, pull_back = vector_jacobian(velocity, state)
    elements = torch.eye(state[0].numel(), dtype=state.dtype, device=state.device).unflatten(1, state.shape[1:])
    pulled = torch.func.vmap(lambda element: pull_back(element.expand_as(moved))[0], chunk_size=CHUNK)(elements)
    rows = pulled.flatten(2)  # shape (elements, batch, elements)
    return Derivative(moved, rows.diagonal(dim1=0, dim2=2).sum(1), rows.square().sum((0, 2)))


def estimated_derivative(velocity: Velocity, state: Tensor, signs: Tensor) -> Derivative:
    """Return the derivatives of a velocity field, estimated from one backward pass.

    Args:
        velocity: Maps states, shape (batch, *event), to velocities; events do not affect each other.
        state: The states.
        signs: Random numbers of mean 0 and variance 1, independent of each other, shape of the state.
    """
    moved, pull_back = vector_jacobian(velocity, state)
    pulled = pull_back(signs)[0].flatten(1)
    return Derivative(moved, (pulled * signs.flatten(1)).sum(1), pulled.square().sum(1))
