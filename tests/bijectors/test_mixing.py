"""Properties of invertible convolutions, learned bounds and NICE's last layers beyond those of every bijector."""

import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from nf_mnist.bijectors import AffineCoupling, InvertibleConv, LearnedTanh, LogisticToNormal, make_mask
from nf_mnist.errors import ShapeError
from tests.support.registry import FLAT, IMAGE, events, make_bijector


@pytest.mark.usefixtures("float64")
def test_a_one_by_one_convolution_begins_as_a_rotation():
    layer, x = InvertibleConv(IMAGE), events(IMAGE)
    z, log_det = layer(x)
    assert_close(z.square().sum(1), x.square().sum(1))
    assert_close(log_det, torch.zeros_like(log_det), atol=1e-5, rtol=0)
    assert (z - x).abs().max() > 0.1
    with pytest.raises(ShapeError, match="got 1; squeeze"):
        InvertibleConv((1, 4, 4))


def test_a_one_by_one_convolution_is_one_matrix_at_every_pixel():
    layer = make_bijector("invertible_conv")
    matrix = layer(torch.eye(4, dtype=torch.float64)[:, :, None, None].expand(4, 4, 4, 4))[0][:, :, 0, 0].T
    x = events(IMAGE)
    z, log_det = layer(x)
    assert_close(z, torch.einsum("ij,bjhw->bihw", matrix, x))
    assert_close(log_det, (16 * torch.linalg.slogdet(matrix).logabsdet).expand(5))


@pytest.mark.parametrize(("name", "shape"), [("invertible_conv", IMAGE), ("logistic_to_normal", FLAT)])
def test_autocast_does_not_round_maps_of_the_data(name, shape):
    layer, x = make_bijector(name, torch.float32), events(shape, dtype=torch.float32)
    expected = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        found = layer(x)
    assert_close(found, expected, atol=1e-6, rtol=1e-6)


def test_a_learned_tanh_is_linear_near_zero_and_bounded():
    scale = LearnedTanh(2).double()
    with torch.no_grad():
        scale.log_bound.copy_(torch.tensor([0.5, 3.0]).log()[:, None, None])
    raw = torch.tensor([1e-4, 1e6], dtype=torch.float64).expand(1, 2, 1, 2)
    assert_close(scale(raw)[0, :, 0, 0], raw[0, :, 0, 0], rtol=1e-6, atol=0)
    assert_close(scale(raw)[0, :, 0, 1], torch.tensor([0.5, 3.0], dtype=torch.float64))


def test_one_network_predicts_log_scales_and_then_shifts():
    class Both(nn.Module):
        def forward(self, kept):
            return torch.cat([torch.full_like(kept, 0.2), torch.full_like(kept, 5.0)], 1)

    x = events(IMAGE)
    z, log_det = AffineCoupling(make_mask("channel", IMAGE), Both(), scale_activation="none")(x)
    assert_close(z[:, 2:], math.exp(0.2) * x[:, 2:] + 5)
    assert_close(log_det, torch.full((5,), 32 * 0.2).double())


def test_a_logistic_prior_is_the_base_seen_through_the_last_layer():
    x = torch.linspace(-30, 30, 120, dtype=torch.float64).reshape(10, 12)
    z, log_det = LogisticToNormal()(x)
    log_prob = torch.distributions.Normal(0, 1).log_prob(z).sum(1) + log_det
    uniform = torch.distributions.Uniform(torch.zeros(1).double(), torch.ones(1).double())
    logistic = torch.distributions.TransformedDistribution(uniform, [torch.distributions.SigmoidTransform().inv])
    assert_close(log_prob, logistic.log_prob(x).sum(1))


@pytest.mark.parametrize("distance", [29.9, 30.1, 730.0, 1459.0, 1e5])
def test_the_logistic_tails_go_on_where_their_probability_underflows(distance):
    x = torch.tensor([[-distance], [distance]], dtype=torch.float64, requires_grad=True)
    z, log_det = LogisticToNormal()(x)
    assert_close(z[0], -z[1])
    log_tail = torch.nn.functional.logsigmoid(x[:1])
    assert_close(torch.special.log_ndtr(z[:1]), log_tail, rtol=1e-12, atol=0)
    (slope,) = torch.autograd.grad(z.sum(), x, retain_graph=True)
    log_normal = torch.distributions.Normal(0, 1).log_prob(z)
    log_logistic = torch.nn.functional.logsigmoid(x) + torch.nn.functional.logsigmoid(-x)
    assert_close(slope.log(), log_logistic - log_normal, rtol=0, atol=1e-9)
    assert_close(log_det, (log_logistic - log_normal)[:, 0])
    (gradient,) = torch.autograd.grad((log_normal[:, 0] + log_det).sum(), x)
    assert_close(gradient, -torch.tanh(x / 2))  # that of the logistic log-density


def test_the_logistic_tails_do_not_end_in_float32():
    x = torch.tensor([[-600.0, -90.0, -1e-3, 1e-3, 90.0, 600.0]])
    z, log_det = LogisticToNormal()(x)
    assert (z.diff() > 0).all()
    assert log_det.isfinite().all()
    assert_close(LogisticToNormal().inverse_and_log_det(z)[0], x, rtol=1e-4, atol=1e-6)
