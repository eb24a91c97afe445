"""Continuous flows: data moves to the latent along a velocity field (Chen et al. 2018, "Neural ODEs")."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from nf_mnist.bijectors.base import Bijector
from nf_mnist.bijectors.ode import OdeSolver

Velocity = Callable[[Tensor], Tensor]


class ContinuousMap(Bijector):
    """Solve ``dx/dt = v(x, t)`` from data at time 0 to the latent at time 1.

    The log-determinant is the integral of the divergence of v (Chen et al. 2018, theorem 1). Of events with few
    elements the divergence is exact, at a cost of one backward pass for each element. Of others it is Hutchinson's
    estimate ``e' (dv/dx) e`` with random signs e, drawn once for each solution (Grathwohl et al. 2019, "FFJORD",
    section 3.1): the log-determinant is then right in the mean, and it differs from call to call.

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
        return self._transport_and_log_det(x, context, 0.0, 1.0)

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._transport_and_log_det(z, context, 1.0, 0.0)

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

    def make_exact(self) -> None:
        super().make_exact()
        self.max_exact_dims = 2**31

    def _transport_and_log_det(
        self, state: Tensor, context: Tensor | None, begin: float, end: float
    ) -> tuple[Tensor, Tensor]:
        divergence = self._divergence(state)

        def derivative(time: Tensor, parts: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return divergence(self._at(time, context), parts[0])

        moved, log_det = self.solver.solve(derivative, (state, state.new_zeros(len(state))), begin, end)
        return moved, log_det

    def _at(self, time: Tensor, context: Tensor | None) -> Velocity:
        """Return the velocity field at a time, a tensor of no dimensions."""
        return lambda state: self.velocity(state, time.expand(len(state)), context).to(state.dtype)

    def _divergence(self, state: Tensor) -> Callable[[Velocity, Tensor], tuple[Tensor, Tensor]]:
        """Return a function from a velocity field and a state to velocities and divergences, shape (batch,)."""
        if state[0].numel() <= self.max_exact_dims:
            return exact_divergence
        signs = torch.randint_like(state, 2) * 2 - 1
        return lambda velocity, state: estimated_divergence(velocity, state, signs)


def exact_divergence(velocity: Velocity, state: Tensor) -> tuple[Tensor, Tensor]:
    """Return velocities, and the trace of their Jacobian for each event, shape (batch,).

    Args:
        velocity: Maps states, shape (batch, *event), to velocities; events do not affect each other.
        state: The states.
    """
    moved, pull_back = _pulled_back(velocity, state)
    elements = torch.eye(state[0].numel(), dtype=state.dtype, device=state.device).unflatten(1, state.shape[1:])

    def row_times_element(element: Tensor) -> Tensor:
        (rows,) = pull_back(element.expand_as(moved))
        return (rows * element).flatten(1).sum(1)

    return moved, torch.stack([row_times_element(element) for element in elements]).sum(0)


def estimated_divergence(velocity: Velocity, state: Tensor, signs: Tensor) -> tuple[Tensor, Tensor]:
    """Return velocities, and Hutchinson's estimate of the trace of their Jacobian, shape (batch,).

    Args:
        velocity: Maps states, shape (batch, *event), to velocities; events do not affect each other.
        state: The states.
        signs: Random numbers of mean 0 and variance 1, independent of each other, shape of the state.
    """
    moved, pull_back = _pulled_back(velocity, state)
    (pulled,) = pull_back(signs)
    return moved, (pulled * signs).flatten(1).sum(1)


def _pulled_back(velocity: Velocity, state: Tensor) -> tuple[Tensor, Callable[[Tensor], tuple[Tensor]]]:
    """Return velocities, and a function from a tensor of their shape to its product with their Jacobian."""
    found: Any = torch.func.vjp(velocity, state)  # of three parts with has_aux=True, says its type
    return found
