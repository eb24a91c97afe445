"""Why an inverse does not undo forward, as experiments on the layer show."""

import math

import pytest
import torch
from torch import nn

from nf_mnist.bijectors import Bijector, Logit
from nf_mnist.diagnostics import DiagnosisTask
from nf_mnist.diagnostics.causes.dependencies import passes_needed
from nf_mnist.diagnostics.causes.inverses import is_permuted
from nf_mnist.diagnostics.measures.tails import beyond_bounds, ends_of
from tests.support.diagnosis_tasks import results
from tests.support.strangers import DIMS, Coupling, flow_of, images, network, task_of

INVERSE, POSSIBLE = "inverse undoes forward", "bits per dimension are possible"


def answer(*layers):
    """Return the measurement of the inverse of a flow of these layers."""
    return results(task_of(*layers), [INVERSE])[INVERSE]


class PermutedBack(Bijector):
    """Reverses the elements of data, and leaves latents as they are."""

    def forward_and_log_det(self, x, context=None):
        return x.flip(1), x.new_zeros(len(x))

    def inverse_and_log_det(self, z, context=None):
        return z, z.new_zeros(len(z))


def test_values_that_come_back_at_other_places_are_a_permutation():
    result = results(task_of(Coupling(), PermutedBack(), Coupling(1)), [INVERSE])[INVERSE]
    assert (result.is_shown, "at other places" in result.cause, "PermutedBack" in result.measured) == (True, True, True)


class OffByALittle(PermutedBack):
    """Moves each value by a little."""

    def forward_and_log_det(self, x, context=None):
        return x + 1e-7, x.new_zeros(len(x))


def test_values_that_are_a_little_off_at_their_own_places_are_no_permutation():
    x = torch.randn(4, DIMS, dtype=torch.float64)
    assert is_permuted(PermutedBack(), x)
    assert not is_permuted(OffByALittle(), x)


class Planar(Bijector):
    """z = x + u tanh(w x + b) in one direction of space, which folds if w u < -1; the inverse takes one branch."""

    def __init__(self, strength):
        super().__init__()
        self.strength, self.n_steps = strength, 200

    def forward_and_log_det(self, x, context=None):
        first = x[:, :1]
        slope = 1 + self.strength * (1 - first.tanh().square())
        return torch.cat([first + self.strength * first.tanh(), x[:, 1:]], 1), slope.abs().log().sum(1)

    def inverse_and_log_det(self, z, context=None):
        """Search from above, where the map rises whatever its strength."""
        low, high = -9 * torch.ones_like(z[:, :1]), 9 * torch.ones_like(z[:, :1])
        low = low if self.strength > -1 else torch.zeros_like(low) + math.atanh((1 + 1 / self.strength) ** 0.5)
        for _ in range(self.n_steps):
            middle = (low + high) / 2
            is_above = middle + self.strength * middle.tanh() > z[:, :1]
            low, high = low.where(is_above, middle), middle.where(is_above, high)
        x = torch.cat([(low + high) / 2, z[:, 1:]], 1)
        return x, -self.forward_and_log_det(x)[1]


def test_a_map_that_folds_is_not_one_to_one():
    result = results(task_of(Coupling(), Planar(-3.0), Coupling(1)), [INVERSE])[INVERSE]
    assert (result.is_shown, "not one to one" in result.cause, "Planar" in result.measured) == (True, True, True), (
        result
    )
    healthy = results(task_of(Coupling(), Planar(-0.9), Coupling(1)), [INVERSE])[INVERSE]
    assert healthy.status == "pass", healthy


def test_a_fold_that_few_images_reach_is_found_where_they_do_not_come_back():
    """The first images, which are examined in float64, lie on the branch that the inverse takes."""
    batch = images()
    levels = batch.levels.clone()
    levels[:4, :, 0, 0] = 250
    batch = batch._replace(x=(levels + 0.5) / 256, levels=levels)
    task = DiagnosisTask(flow_of(Planar(-3.0), Coupling()), batch)
    name = "images come back in float32"
    found = results(task, [INVERSE, name])
    assert (found[INVERSE].status, found[name].status) == ("pass", "fail"), found
    assert "not one to one" in found[name].cause
    assert "Planar" in found[name].measured


@pytest.mark.parametrize(("n_steps", "status"), [(20, "pass"), (8, "fail")])
def test_a_bisection_that_ends_at_a_small_error_is_no_fault(n_steps, status):
    """After 20 halvings of 18 the error is 2e-5, which is 0.001 grey levels behind this logit; after 8 it is 0.07."""
    layer = Planar(-0.9)
    layer.n_steps = n_steps
    result = results(task_of(Coupling(), layer), [INVERSE])[INVERSE]
    assert result.status == status, result


class WrongElements(Bijector):
    """Transforms its odd elements given the even ones, puts both side by side, and takes them apart otherwise."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(DIMS // 2, 16), nn.Tanh(), nn.Linear(16, DIMS))

    def _parameters_given(self, half):
        log_scale, shift = self.net(half).chunk(2, 1)
        return log_scale.tanh(), shift

    def forward_and_log_det(self, x, context=None):
        log_scale, shift = self._parameters_given(x[:, ::2])
        return torch.cat([x[:, ::2], x[:, 1::2] * log_scale.exp() + shift], 1), log_scale.sum(1)

    def inverse_and_log_det(self, z, context=None):
        log_scale, shift = self._parameters_given(z[:, ::2])
        return torch.cat([z[:, ::2], (z[:, 1::2] - shift) * (-log_scale).exp()], 1), -log_scale.sum(1)


def test_a_mask_is_not_blamed_for_the_inverse_of_another_map():
    """Its log-determinant is right, which it would not be if an element saw itself."""
    result = results(task_of(Coupling(), WrongElements()), [INVERSE])[INVERSE]
    assert (result.status, "mask" in result.cause, "WrongElements" in result.measured) == ("fail", False, True), result


class Expanding(Bijector):
    """x + 3 times a matrix of tanh(x), undone by a fixed-point iteration that cannot converge."""

    def __init__(self, factor):
        super().__init__()
        self.net = nn.Linear(DIMS, DIMS, bias=False)
        nn.init.orthogonal_(self.net.weight, generator=torch.Generator().manual_seed(0))
        self.factor = factor

    def forward_and_log_det(self, x, context=None):
        z = x + self.factor * self.net(x).tanh()
        jacobian = torch.func.vmap(torch.func.jacrev(lambda one: one + self.factor * self.net(one).tanh()))(x)
        return z, torch.linalg.slogdet(jacobian).logabsdet

    def inverse_and_log_det(self, z, context=None):
        x = z
        for _ in range(60):
            x = z - self.factor * self.net(x).tanh()
        return x, -self.forward_and_log_det(x)[1]


def test_a_residual_block_that_is_no_contraction_is_named_with_its_steepness():
    result = results(task_of(Expanding(3.0)), [INVERSE])[INVERSE]
    assert (result.is_shown, "no contraction" in result.cause, "Expanding" in result.measured) == (True, True, True), (
        result
    )
    assert results(task_of(Expanding(0.5)), [INVERSE])[INVERSE].status == "pass"


class OpenMask(Bijector):
    """An autoregression whose mask lets each element see itself; the inverse goes from the first to the last."""

    def __init__(self, diagonal):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.net = nn.Linear(DIMS, DIMS)
        self.net.weight.data = torch.randn(DIMS, DIMS, generator=generator)
        self.register_buffer("mask", torch.ones(DIMS, DIMS).tril(diagonal))

    def shift(self, x):
        return torch.nn.functional.linear(x, self.net.weight * self.mask, self.net.bias).tanh()

    def forward_and_log_det(self, x, context=None):
        return x + self.shift(x), x.new_zeros(len(x))

    def inverse_and_log_det(self, z, context=None):
        x = torch.zeros_like(z)
        for _ in range(DIMS):
            x = z - self.shift(x)
        return x, z.new_zeros(len(z))


@pytest.mark.parametrize(("diagonal", "status"), [(-1, "pass"), (0, "fail"), (1, "fail")])
def test_an_autoregression_whose_elements_see_themselves_is_told_from_an_expanding_residual_block(diagonal, status):
    result = results(task_of(OpenMask(diagonal)), [INVERSE])[INVERSE]
    assert result.status == status, result
    if diagonal == 1:
        assert "sees itself" in result.cause


class Masked(nn.Module):
    """A network of which each output sees the inputs before it."""

    def __init__(self, net):
        super().__init__()
        self.net = net
        self.register_buffer("before", torch.ones(DIMS, DIMS).tril(-1))

    def forward(self, x):
        rows = self.net((x[:, None] * self.before).flatten(0, 1))  # row i sees what stands before element i
        return rows.unflatten(0, (len(x), DIMS)).diagonal(dim1=1, dim2=2)


class Autoregression(Bijector):
    """Shifts each element given those before it; the inverse may take too few passes."""

    def __init__(self, n_passes):
        super().__init__()
        self.net = Masked(network())
        self.n_passes = n_passes

    def forward_and_log_det(self, x, context=None):
        return x + self.net(x), x.new_zeros(len(x))

    def inverse_and_log_det(self, z, context=None):
        x = torch.zeros_like(z)
        for _ in range(self.n_passes):
            x = z - self.net(x)
        return x, z.new_zeros(len(z))


@pytest.mark.parametrize("n_passes", [1, 2, 5])
def test_too_few_passes_of_an_autoregression_are_named_with_their_number(n_passes):
    result = answer(Coupling(), Autoregression(n_passes))
    assert result.status == "fail"
    assert f"too few passes: elements come back if at most {n_passes} of the passes" in result.cause
    assert "Autoregression" in result.measured


def test_an_autoregression_with_enough_passes_passes():
    assert answer(Autoregression(DIMS)).status == "pass"


class InAnotherOrder(Autoregression):
    """Its inverse computes the last element first."""

    def inverse_and_log_det(self, z, context=None):
        x = torch.zeros_like(z)
        for index in reversed(range(DIMS)):
            x[:, index] = (z - self.net(x))[:, index]
        return x, z.new_zeros(len(z))


def test_an_inverse_in_another_order_is_not_said_to_take_too_few_passes():
    result = answer(InAnotherOrder(DIMS))
    assert (result.status, "too few passes" in result.cause) == ("fail", False)


def test_an_element_needs_one_pass_more_than_those_it_depends_on():
    jacobian = torch.eye(4)
    jacobian[1, 0] = jacobian[2, 1] = jacobian[3, 0] = 1.0
    assert passes_needed(jacobian).tolist() == [1, 2, 3, 2]
    jacobian[0, 2] = 1.0
    assert passes_needed(jacobian) is None, "0 depends on 2, which depends on 1, which depends on 0"


class Squash(Bijector):
    """Ends with a tanh, whose inverse keeps off 1."""

    def forward_and_log_det(self, x, context=None):
        return x.tanh(), (1 - x.tanh().square()).log().sum(1)

    def inverse_and_log_det(self, z, context=None):
        x = z.clamp(-0.999, 0.999).atanh()
        return x, -(1 - x.tanh().square()).log().sum(1)


class Cut(Bijector):
    """Cuts off what lies beyond 1."""

    def forward_and_log_det(self, x, context=None):
        return x.clamp(-1, 1), x.new_zeros(len(x))

    def inverse_and_log_det(self, z, context=None):
        return z, z.new_zeros(len(z))


class Wide(Bijector):
    """Stretches."""

    def forward_and_log_det(self, x, context=None):
        return 2 * x, x.new_zeros(len(x))

    def inverse_and_log_det(self, z, context=None):
        return z / 2, z.new_zeros(len(z))


@pytest.mark.parametrize(("layer", "words"), [(Squash(), "not onto"), (Cut(), "not one to one")])
def test_a_map_that_is_not_onto_is_told_from_one_that_cuts_values_off(layer, words):
    result = answer(Wide(), layer)
    assert (result.status, words in result.cause) == ("fail", True), result


class Refusing(Coupling):
    """Takes numbers below 1,000 only."""

    def forward_and_log_det(self, x, context=None):
        if x.abs().max() > 1e3:
            raise ValueError("outside of the domain")
        return x, x.new_zeros(len(x))


def test_only_a_map_that_squashes_has_ends():
    x = torch.randn(4, DIMS, dtype=torch.float64)
    assert ends_of(Squash(), x) == pytest.approx((-1, 1))
    assert ends_of(Coupling().double(), x) is None
    assert ends_of(Logit(), x.sigmoid()) is None, "a logit has no values at numbers beyond 1"
    assert ends_of(Refusing(), x) is None


class NotOrthogonal(Bijector):
    """A matrix whose inverse and log-determinant are those of an orthogonal one."""

    def __init__(self, deviation):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        matrix = torch.linalg.qr(torch.randn(DIMS, DIMS, generator=generator, dtype=torch.float64))[0]
        self.weight = nn.Parameter(matrix + deviation * torch.randn(DIMS, DIMS, generator=generator))

    def forward_and_log_det(self, x, context=None):
        return x @ self.weight.T.to(x), x.new_zeros(len(x))

    def inverse_and_log_det(self, z, context=None):
        return z @ self.weight.to(z), z.new_zeros(len(z))


def test_where_neither_direction_nor_log_determinant_holds_both_are_said_to_be_wrong():
    result = answer(Coupling(), NotOrthogonal(0.1))
    assert "neither the inverse nor the log-determinant" in result.cause
    assert (result.status, "NotOrthogonal" in result.measured) == ("fail", True)


class Spline(Bijector):
    """Bends what lies between -bound and bound, and leaves the rest as it is."""

    def __init__(self, bound):
        super().__init__()
        self.net, self.bound = network(), bound

    def forward_and_log_det(self, x, context=None):
        inside = x.abs() < self.bound
        slope = torch.where(inside, 2 * x.abs() / self.bound, torch.ones_like(x))
        return torch.where(inside, x * x.abs() / self.bound, x), slope.log().sum(1)

    def inverse_and_log_det(self, z, context=None):
        x = torch.where(z.abs() < self.bound, z.sign() * (z.abs() * self.bound).sqrt(), z)
        return x, -self.forward_and_log_det(x)[1]


@pytest.mark.parametrize(("bound", "is_said"), [(4.0, True), (40.0, False)])
def test_splines_that_end_before_most_values_are_named_with_the_share_of_the_values(bound, is_said):
    batch = images()
    batch = batch._replace(levels=torch.zeros_like(batch.levels), x=torch.rand_like(batch.x) / 256)  # all black
    flow = flow_of(Spline(bound))
    flow.bijector.bijectors[0] = Logit(0.0)
    result = results(DiagnosisTask(flow, batch), [POSSIBLE])[POSSIBLE]
    assert ("100% of the values lie beyond the bounds" in result.cause) == (result.status == "fail") == is_said, result
    title, share = beyond_bounds(flow, batch)
    assert share == pytest.approx(float(is_said))
    assert ("Spline" in title) == is_said


def test_values_that_a_mask_lets_pass_are_not_beyond_any_bound():
    assert beyond_bounds(flow_of(Coupling()), images())[1] == 0.0
