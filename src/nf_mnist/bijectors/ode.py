"""Solving the differential equation of a continuous flow, with a tolerance or in steps of equal length."""

from collections.abc import Callable

import torch
from torch import Tensor

from nf_mnist.errors import ConvergenceError, SettingError, check_range

State = tuple[Tensor, ...]
Derivative = Callable[[Tensor, State], State]
EVALUATIONS_PER_STEP = 4  # of the Runge-Kutta method of fourth order


class OdeSolver:
    """Runge-Kutta methods: Dormand and Prince's with adaptive steps, or the classical one with steps of equal length.

    Adaptive steps are chosen for a batch as a whole, so that the result for an event depends, within the tolerance, on
    the others in its batch. Steps of equal length do not depend on anything.

    Args:
        tolerance: Largest error of any element in a step, relative and absolute, for adaptive steps. It is at least
            100 times the rounding error of the numbers that it meets.
        n_steps: Number of steps of equal length, of four evaluations each; None for adaptive steps.
        max_evaluations: Number of evaluations after which adaptive steps are given up.

    Attributes:
        n_evaluations: Number of evaluations of all solutions so far.
        n_solutions: Number of solutions so far.

    Raises:
        SettingError: If a setting is out of range.
    """

    def __init__(self, tolerance: float = 1e-5, n_steps: int | None = None, max_evaluations: int = 1000) -> None:
        if not tolerance > 0:
            raise SettingError("tolerance", tolerance, f"must be above 0, got {tolerance!r}")
        check_range(1, max_evaluations=max_evaluations)
        if n_steps is not None:
            check_range(1, n_steps=n_steps)
        self.tolerance, self.n_steps, self.max_evaluations = tolerance, n_steps, max_evaluations
        self.n_evaluations = self.n_solutions = 0

    def mean_evaluations(self) -> float:
        """Return the mean number of evaluations of a solution; NaN before the first."""
        return self.n_evaluations / self.n_solutions if self.n_solutions else float("nan")

    def solve(
        self, derivative: Derivative, start: State, begin: float, end: float, n_controlled: int | None = None
    ) -> State:
        """Return the state at time ``end``.

        Args:
            derivative: Maps a time, a tensor of no dimensions, and a state to the derivatives of the state.
            start: The state at time ``begin``; a tuple of tensors.
            begin: Time of the start.
            end: Time of the result; it may be earlier.
            n_controlled: Number of the first tensors of the state whose errors choose adaptive steps; None for all.

        Raises:
            ConvergenceError: If adaptive steps take too many evaluations, or become too small for the numbers.
        """
        from torchdiffeq import odeint  # imports scipy.integrate, 0.7 s

        self.n_solutions += 1
        most = self.n_evaluations + self.max_evaluations

        def counted(time: Tensor, state: State) -> State:
            self.n_evaluations += 1
            if self.n_steps is None and self.n_evaluations > most:
                raise ConvergenceError(
                    f"the differential equation takes more than {self.max_evaluations} evaluations at a tolerance of "
                    f"{self.tolerance:g}; raise the tolerance, or max_evaluations"
                )
            return derivative(time, state)

        times = torch.tensor([begin, end], dtype=start[0].dtype, device=start[0].device)
        try:
            path = odeint(counted, start, times, **self._method(start[0].dtype, abs(end - begin), n_controlled))
        except AssertionError as error:  # torchdiffeq's only sign that it cannot go on
            raise ConvergenceError(
                f"the differential equation cannot be solved to a tolerance of {self.tolerance:g}: {error}; its "
                "velocities may be infinite or NaN"
            ) from error
        return tuple(values[-1] for values in path)

    def _method(self, dtype: torch.dtype, length: float, n_controlled: int | None) -> dict:
        if self.n_steps is not None:
            return {"method": "rk4", "options": {"step_size": length / self.n_steps}}
        tolerance = max(self.tolerance, 100 * torch.finfo(dtype).eps)

        def norm(parts: State) -> Tensor:
            return torch.stack([part.abs().max() for part in parts[:n_controlled]]).max()

        return {"method": "dopri5", "rtol": tolerance, "atol": tolerance, "options": {"norm": norm}}
