"""Properties of rational-quadratic splines beyond those of every bijector."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from nf_mnist.bijectors import SplineCoupling, make_mask
from nf_mnist.bijectors.spline import SMALLEST_SHARE, SMALLEST_SLOPE, Spline
from nf_mnist.errors import ConfigError
from tests.support.registry import FLAT, unsettle

N_BINS, BOUND = 5, 2.0


def spline(spread: float, n: int = 200, dtype: torch.dtype = torch.float64) -> Spline:
    parameters = spread * torch.randn(3 * N_BINS - 1, n, dtype=torch.float64)
    return Spline.from_parameters(parameters.to(dtype), N_BINS, BOUND)


class Constant(nn.Module):
    """A network that predicts the same number everywhere, with ``multiple`` times as many channels."""

    def __init__(self, value: float, multiple: int) -> None:
        super().__init__()
        self.value, self.multiple = value, multiple

    def forward(self, x):
        return torch.full_like(x, self.value).repeat(1, self.multiple, *[1] * (x.dim() - 2))


def test_a_spline_goes_through_its_knots_with_its_slopes():
    one = spline(1.0)
    for k in range(1, N_BINS):
        x = one.x[k].clone().requires_grad_()
        z, log_slope = one.bin_of(x, one.x).forward(x)
        (slope,) = torch.autograd.grad(z.sum(), x)
        assert_close(z, one.z[k])
        assert_close(slope, one.slope[k])
        assert_close(log_slope, one.slope[k].log())


def test_knots_span_the_interval_and_keep_their_floors():
    one = spline(20.0)
    for knots in (one.x, one.z):
        assert torch.equal(knots[0], torch.full_like(knots[0], -BOUND))
        assert torch.equal(knots[-1], torch.full_like(knots[0], BOUND))
        assert knots.diff(dim=0).min() >= 2 * BOUND * SMALLEST_SHARE * (1 - 1e-9)
    assert torch.equal(one.slope[0], torch.ones(200).double())
    assert one.slope.min() >= SMALLEST_SLOPE


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 2e-4)])
def test_the_closed_form_inverse_holds_for_steep_and_flat_bins(dtype, tolerance):
    one = spline(3.0, 20000, dtype)
    x = BOUND * (2 * torch.rand(20000, dtype=dtype) - 1)
    z, log_slope = one.bin_of(x, one.x).forward(x)
    error = (one.bin_of(z, one.z).inverse(z) - x).abs() * log_slope.exp().clamp(max=1)  # rounding limits z, not x
    assert log_slope.amax() - log_slope.amin() > 10, "there are both"
    assert error.max() < tolerance


@pytest.mark.parametrize("spread", [0.0, 1e-5])
def test_the_inverse_does_not_cancel_where_the_quadratic_is_nearly_linear(spread):
    one, x = spline(spread, 1000, torch.float32), BOUND * (2 * torch.rand(1000) - 1)
    assert_close(one.bin_of(x, one.z).inverse(x), x, atol=1e-4, rtol=0)


def test_zeros_make_the_identity_and_so_do_tails():
    x = torch.linspace(-3, 3, 60, dtype=torch.float64).reshape(5, 12)
    layer = SplineCoupling(make_mask("halves", FLAT), Constant(0.0, 3 * N_BINS - 1), N_BINS, BOUND)
    for z, log_det in (layer(x), layer.inverse_and_log_det(x)):
        assert_close(z, x)
        assert_close(log_det, torch.zeros_like(log_det))
    bent = unsettle(SplineCoupling(make_mask("halves", FLAT), nn.Linear(12, 12 * 14), N_BINS, BOUND)).double()
    z, _ = bent(x)
    outside = x.abs() > BOUND
    assert torch.equal(z[outside], x[outside])
    assert torch.equal(z[:, :6], x[:, :6])
    assert (z[:, 6:] != x[:, 6:])[~outside[:, 6:]].all()


@pytest.mark.parametrize(
    ("n_bins", "bound"), [(0, 1.0), (1000, 1.0), (4, 0.0), (4, -1.0), (4, float("inf")), (4, float("nan"))]
)
def test_splines_refuse_settings_out_of_range(n_bins, bound):
    with pytest.raises(ConfigError, match="a spline needs"):
        SplineCoupling(make_mask("halves", FLAT), nn.Identity(), n_bins, bound)


def test_autocast_does_not_round_splines():
    layer = SplineCoupling(make_mask("halves", FLAT), Constant(0.3, 3 * N_BINS - 1), N_BINS, BOUND)
    x = torch.rand(5, *FLAT)
    expected = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        found = layer(x)
    assert_close(found, expected, atol=1e-6, rtol=1e-6)
