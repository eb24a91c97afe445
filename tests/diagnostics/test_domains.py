"""Inverses that return values of an interval only, and maps that wrap values around, are named."""

import torch

from nf_mnist.bijectors import Bijector
from tests.support.diagnosis_tasks import results
from tests.support.strangers import task_of

INVERSE = "inverse undoes forward"


def answer(*layers):
    """Return the measurement of the inverse of a flow of these layers."""
    return results(task_of(*layers), [INVERSE])[INVERSE]


class Search(Bijector):
    """z = x + x^3, and a bisection within fixed bounds back."""

    def __init__(self, bound):
        super().__init__()
        self.bound = bound

    def forward_and_log_det(self, x, context=None):
        return x + x**3, (1 + 3 * x.square()).log().sum(1)

    def inverse_and_log_det(self, z, context=None):
        low, high = torch.full_like(z, -self.bound), torch.full_like(z, self.bound)
        for _ in range(60):
            middle = (low + high) / 2
            is_above = middle + middle**3 > z
            low, high = low.where(is_above, middle), middle.where(is_above, high)
        return middle, -self.forward_and_log_det(middle)[1]


class Halved(Bijector):
    """Another wrong inverse: half of the data."""

    def forward_and_log_det(self, x, context=None):
        return x, x.new_zeros(len(x))

    def inverse_and_log_det(self, z, context=None):
        return z / 2, z.new_zeros(len(z))


def test_a_search_within_bounds_that_are_too_narrow_is_named_with_its_bounds():
    assert "from -1 to 1 only: data beyond come back at its ends" in answer(Search(1.0)).cause
    assert "come back at its ends" not in answer(Halved()).cause
    assert answer(Search(10.0)).status == "pass"


class Angles(Bijector):
    """Wraps values into a range around 0; with a slope, so that two values of one latent are not neighbours."""

    def __init__(self, turn):
        super().__init__()
        self.turn = turn

    def forward_and_log_det(self, x, context=None):
        return torch.remainder(x + self.turn / 2, self.turn) - self.turn / 2, x.new_zeros(len(x))

    def inverse_and_log_det(self, z, context=None):
        return self.forward_and_log_det(z)


def test_values_that_are_wrapped_around_are_told_from_values_that_are_cut_off():
    assert "they come back displaced by 1.5, as angles do" in answer(Angles(1.5)).cause
    assert answer(Angles(10.0)).status == "pass"
    assert "displaced" not in answer(CutOff()).cause


class CutOff(Halved):
    def forward_and_log_det(self, x, context=None):
        return x.clamp(-1, 1), x.new_zeros(len(x))

    def inverse_and_log_det(self, z, context=None):
        return z, z.new_zeros(len(z))
