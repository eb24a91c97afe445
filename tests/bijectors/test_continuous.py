"""Continuous maps: divergences, their estimates, the solver's tolerance and its refusals."""

import math

import pytest
import torch
from torch.testing import assert_close

from nf_mnist.bijectors import ContinuousMap, OdeSolver
from nf_mnist.bijectors.continuous import estimated_derivative, exact_derivative
from nf_mnist.errors import ConfigError, ConvergenceError
from tests.support.registry import events, unsettle
from tests.support.velocities import LinearVelocity, PerceptronVelocity, SmallVelocity

MATRIX = torch.tensor([[0.5, 1.0], [-2.0, 0.3]], dtype=torch.float64)


@pytest.mark.parametrize("tolerance", [1e-3, 1e-6])
def test_a_linear_field_is_the_exponential_of_its_matrix_within_the_tolerance(tolerance):
    x = events((2,))
    z, log_det = ContinuousMap(LinearVelocity(MATRIX), OdeSolver(tolerance))(x)
    assert_close(z, x @ torch.linalg.matrix_exp(MATRIX).T, atol=20 * tolerance, rtol=0)
    assert_close(log_det, torch.full_like(log_det, MATRIX.trace().item()), atol=20 * tolerance, rtol=0)


def test_a_smaller_tolerance_takes_more_evaluations():
    counts = []
    for tolerance in (1e-3, 1e-6, 1e-9):
        solver = OdeSolver(tolerance)
        ContinuousMap(LinearVelocity(MATRIX), solver)(events((2,)))
        counts.append(solver.n_evaluations)
    assert counts == sorted(set(counts))


def test_steps_of_equal_length_take_four_evaluations_each():
    solver = OdeSolver(n_steps=7)
    for _ in range(2):
        ContinuousMap(LinearVelocity(MATRIX), solver)(events((2,)))
    assert solver.n_evaluations == 56
    assert solver.mean_evaluations() == 28


def test_the_exact_divergence_is_the_trace_of_the_jacobian():
    velocity, x = unsettle(SmallVelocity((6,))).double(), events((6,))
    time = torch.full((len(x),), 0.4, dtype=x.dtype)
    moved, divergence, frobenius = exact_derivative(lambda state: velocity(state, time), x)
    jacobian = torch.autograd.functional.jacobian(lambda state: velocity(state, time), x)
    jacobians = torch.stack([jacobian[i, :, i] for i in range(len(x))])
    assert_close(divergence, jacobians.diagonal(dim1=1, dim2=2).sum(1))
    assert_close(frobenius, jacobians.square().sum((1, 2)))
    assert_close(moved, velocity(x, time))


def test_the_estimate_over_all_signs_is_exact():
    velocity, x = unsettle(SmallVelocity((3,))).double(), events((3,), n=2)
    time = torch.zeros(2, dtype=x.dtype)
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0], dtype=x.dtype)] * 3)
    estimates = [estimated_derivative(lambda s: velocity(s, time), x, sign.expand(2, 3)) for sign in signs]
    for estimated, exact in zip(
        zip(*estimates, strict=True), exact_derivative(lambda s: velocity(s, time), x), strict=True
    ):
        assert_close(torch.stack(estimated).mean(0), exact)


def test_log_dets_of_large_events_are_right_in_the_mean():
    velocity, x = unsettle(SmallVelocity((20,))).double(), events((20,), n=2)
    estimated = ContinuousMap(velocity, OdeSolver(n_steps=2))
    exact = ContinuousMap(velocity, OdeSolver(n_steps=2), max_exact_dims=20)
    torch.manual_seed(0)
    with torch.no_grad():
        draws = torch.stack([estimated(x)[1] for _ in range(200)])
    error = draws.std(0) / math.sqrt(len(draws))
    assert ((draws.mean(0) - exact(x)[1]).abs() < 4 * error).all()
    assert (draws.std(0) > 0).all()


def test_latents_of_several_calls_differ_within_the_tolerance():
    velocity, x = unsettle(PerceptronVelocity((1, 5, 5))).double(), events((1, 5, 5))
    estimated = ContinuousMap(velocity, OdeSolver(1e-5))
    (z, log_det), (other_z, other_log_det) = (estimated(x) for _ in range(2))
    assert_close(z, other_z, rtol=0, atol=1e-3)
    assert_close(z, estimated.transport(x, None, 0.0, 1.0), rtol=0, atol=1e-3)
    assert (log_det - other_log_det).abs().max() > 1e-2


def test_prices_of_a_way_do_not_choose_its_steps():
    counts = []
    for weight in (1.0, 1e6):
        solver = OdeSolver(1e-6)
        start = torch.ones(1, 2, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
        solver.solve(lambda time, parts, w=weight: (-parts[0], w * (50 * time).sin()[None]), start, 0.0, 1.0, 1)
        counts.append(solver.n_evaluations)
    assert counts[0] == counts[1]


def test_each_element_keeps_the_tolerance_however_many_there_are():
    errors = []
    for n in (2, 200):
        x = torch.zeros(1, n, dtype=torch.float64)
        x[0, 0] = 1.0  # the only element that moves
        flow = ContinuousMap(LinearVelocity(-5 * torch.eye(n, dtype=torch.float64)), OdeSolver(1e-4))
        z = flow.transport(x, None, 0.0, 1.0)
        errors.append((z[0, 0] - math.exp(-5)).abs().item())
    assert errors[1] <= 2 * errors[0]


@pytest.mark.parametrize(("begin", "end"), [(0.0, 1.0), (1.0, 0.0)])
def test_the_costs_of_a_way_are_integrals_along_it(begin, end):
    x, way = events((2,)), ContinuousMap(LinearVelocity(MATRIX), OdeSolver(1e-8))
    found = way.transport_and_costs(x, None, begin, end)
    times = torch.linspace(0, end - begin, 2001, dtype=x.dtype)
    velocities = torch.stack([x @ torch.linalg.matrix_exp(time * MATRIX).T @ MATRIX.T for time in times])
    assert_close(found.kinetic, torch.trapezoid(velocities.square().sum(2), times.abs(), dim=0), rtol=1e-5, atol=0)
    assert_close(found.frobenius, MATRIX.square().sum().expand(len(x)), rtol=1e-6, atol=0)


@pytest.mark.parametrize("tolerance", [0.0, -1e-3, math.nan])
def test_a_tolerance_of_zero_is_refused(tolerance):
    with pytest.raises(ConfigError, match="tolerance must be above 0"):
        OdeSolver(tolerance)


@pytest.mark.parametrize("name", ["n_steps", "max_evaluations"])
def test_numbers_below_one_are_refused(name):
    with pytest.raises(ConfigError, match=f"{name} must be at least 1"):
        OdeSolver(**{name: 0})


def test_too_many_evaluations_are_an_error():
    with pytest.raises(ConvergenceError, match="takes more than 10 evaluations at a tolerance of 1e-06"):
        ContinuousMap(LinearVelocity(MATRIX), OdeSolver(1e-6, max_evaluations=10))(events((2,)))


def test_velocities_without_bounds_are_an_error():
    with pytest.raises(ConvergenceError, match=r"cannot be solved|takes more than"):
        ContinuousMap(LinearVelocity(math.nan * MATRIX), OdeSolver(1e-6))(events((2,)))
