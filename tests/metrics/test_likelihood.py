"""Bits per dimension that can be audited, and the chi distribution."""

import math

import pytest
import torch
from torch.testing import assert_close

from nf_mnist.bijectors import Flatten, Logit, Sequential
from nf_mnist.data import UniformDequantizer, draw_noise
from nf_mnist.flows import Flow
from nf_mnist.metrics import bits_per_dim, chi_moments, log_mean_exp
from nf_mnist.plots import chi_density
from tests.support.registry import coupling

EVENT = (1, 28, 28)


def dequantized(n: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    levels = torch.randint(256, (n, *EVENT), dtype=torch.uint8)
    x, log_q = UniformDequantizer()(levels, draw_noise(levels))
    return x.double(), log_q.double()


def test_the_uniform_model_scores_exactly_eight():
    _, log_q = dequantized()
    assert bits_per_dim(torch.zeros(4).double(), log_q, 784).tolist() == pytest.approx([8.0] * 4, rel=1e-7)
    log_q = UniformDequantizer()(torch.zeros(1, *EVENT, dtype=torch.uint8), torch.zeros(1, *EVENT, dtype=torch.long))[1]
    assert bits_per_dim(torch.zeros(1), log_q, 784).item() == 8.0


def test_a_model_that_is_right_by_one_bit_per_dimension_scores_seven():
    assert bits_per_dim(torch.tensor([784 * math.log(2)]), 784 * math.log(256), 784).item() == pytest.approx(7.0)


def test_bpd_is_that_of_the_probability_of_levels():
    # A density that is constant on each level's box: its bits are exactly those of the discrete distribution.
    probabilities = torch.distributions.Categorical(torch.rand(256, dtype=torch.float64))
    levels = torch.randint(256, (3, *EVENT), dtype=torch.uint8)
    log_p_of_level = probabilities.log_prob(levels.long()).flatten(1).sum(1)
    x, log_q = UniformDequantizer()(levels, draw_noise(levels))
    density = (256 * probabilities.probs[(x * 256).long()]).log().flatten(1).sum(1)
    assert_close(bits_per_dim(density, log_q.double(), 784), -log_p_of_level / 784 / math.log(2), rtol=1e-6, atol=0)


def test_moving_the_logit_into_or_out_of_the_model_leaves_bpd_unchanged():
    x, log_q = dequantized()
    rest, logit = [Flatten(EVENT), coupling((784,), "halves").double()], Logit(1e-5)
    inside = Flow(Sequential([logit, *rest]), EVENT).log_prob(x)
    y, log_det = logit(x)
    outside = Flow(Sequential(rest), EVENT).log_prob(y) + log_det
    assert_close(bits_per_dim(inside, log_q, 784), bits_per_dim(outside, log_q, 784), rtol=1e-12, atol=0)
    without = bits_per_dim(Flow(Sequential(rest), EVENT).log_prob(y), log_q, 784)
    assert (without - bits_per_dim(inside, log_q, 784)).abs().min() > 0.5, "the logit's log-determinant is not small"


def test_log_mean_exp_does_not_overflow_and_lies_between_mean_and_maximum():
    values = torch.tensor([[-3000.0, 1.0], [-3001.0, 1.0]], dtype=torch.float64)
    expected = [-3000 + math.log((1 + math.exp(-1)) / 2), 1.0]
    assert log_mean_exp(values).tolist() == pytest.approx(expected)


def test_chi_moments_of_784_dimensions():
    mean, std = chi_moments(784)
    assert round(mean, 2) == 27.99
    assert round(std, 3) == 0.707
    assert mean**2 + std**2 == pytest.approx(784)


def test_the_chi_density_is_normalized_and_has_the_chi_moments():
    radius = torch.linspace(20, 36, 20001, dtype=torch.float64)
    weights = chi_density(radius, 784) * (radius[1] - radius[0])
    assert weights.sum().item() == pytest.approx(1, abs=1e-9)
    assert (weights * radius).sum().item() == pytest.approx(chi_moments(784)[0], abs=1e-8)
    # One dimension: the half-normal density at 1.
    assert chi_density(torch.tensor(1.0), 1).item() == pytest.approx(math.sqrt(2 / math.pi) * math.exp(-0.5))
