"""Continuous flows trained by likelihood: their density in two dimensions, the prices in the loss, and training."""

import pytest
import torch
from torch.testing import assert_close

from nf_mnist.bijectors import OdeSolver, Rescale
from nf_mnist.errors import ConfigError
from nf_mnist.flows import RegularizedFlow, ffjord, preprocessing
from tests.support.helpers import compose_config
from tests.support.registry import events, unsettle
from tests.support.velocities import GaussianVelocity

SHAPE = (1, 1, 2)


def gaussian_flow(std: float, tolerance: float = 1e-6, **weights: float) -> RegularizedFlow:
    prices = {"kinetic_weight": 0.0, "frobenius_weight": 0.0, **weights}
    steps = OdeSolver(n_steps=8)
    return RegularizedFlow(
        Rescale(1.0, 0.0), GaussianVelocity(std), OdeSolver(tolerance), steps, steps, SHAPE, 0, **prices
    )


def test_the_density_is_exact_to_a_thousandth_of_a_nat_at_the_default_tolerance():
    tolerance = compose_config(["model=ffjord"]).model.flow.tolerance
    x = 0.3 * torch.randn(200, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    expected = torch.distributions.Normal(0, 0.3).log_prob(x).flatten(1).sum(1)
    found = gaussian_flow(0.3, tolerance).log_prob(x).detach()
    assert (found - expected).abs().max() < 1e-3


def test_the_loss_is_the_likelihood_plus_the_prices():
    x, log_q = 0.3 * events(SHAPE), torch.linspace(0, 1, 5, dtype=torch.float64)
    plain, kinetic, frobenius = (
        gaussian_flow(0.3, **weights).training_loss(x, log_q).item()
        for weights in ({}, {"kinetic_weight": 2.0}, {"frobenius_weight": 3.0})
    )
    flow = gaussian_flow(0.3)
    way = flow.map.transport_and_costs(x, None, 0.0, 1.0)
    assert plain == pytest.approx((log_q - flow.log_prob(x)).mean().item(), abs=1e-3)
    assert kinetic - plain == pytest.approx(2 * way.kinetic.mean().item(), rel=1e-2)
    assert frobenius - plain == pytest.approx(3 * way.frobenius.mean().item(), rel=1e-2)


def test_training_recovers_a_gaussian():
    flow = gaussian_flow(0.8)
    optimizer = torch.optim.Adam(flow.parameters(), lr=0.03)
    torch.manual_seed(0)
    for _ in range(60):
        optimizer.zero_grad()
        x = 0.3 * torch.randn(300, *SHAPE, dtype=torch.float64)
        flow.training_loss(x, x.new_zeros(300)).backward()
        optimizer.step()
    assert flow.map.velocity.std.item() == pytest.approx(0.3, abs=0.03)


def small(**others) -> RegularizedFlow:
    steps = {"n_training_steps": 2, "n_sampling_steps": 2, "tolerance": 1e-3, "max_evaluations": 1000}
    prices = {"kinetic_weight": 0.01, "frobenius_weight": 0.01}
    sizes = {"unet_channels": 8, "unet_blocks": 1, "n_classes": 0, "event_shape": (1, 8, 8)}
    return ffjord(preprocess=preprocessing("symmetric", 0.0, True), **{**steps, **prices, **sizes, **others})


def test_every_parameter_gets_a_gradient_from_the_loss():
    flow, x = unsettle(small(n_classes=3)).double(), events((1, 8, 8))
    flow.training_loss(x, x.new_zeros(5), torch.tensor([0, 1, 2, 0, 1])).backward()
    for name, parameter in flow.named_parameters():
        assert parameter.grad.abs().max() > 0, name


def test_images_with_unequal_weights_get_their_own_gradients():
    """The gradient of a weighted sum is the weighted sum of the gradients of single images."""
    flow, x = gaussian_flow(0.5), 0.3 * events(SHAPE, n=4)
    weights = torch.tensor([0.0, 0.0, 1.0, 3.0], dtype=torch.float64)
    (found,) = torch.autograd.grad((weights * flow.log_prob(x)).sum(), flow.map.velocity.std)
    alone = [torch.autograd.grad(flow.log_prob(image[None]).sum(), flow.map.velocity.std)[0] for image in x]
    assert_close(found, (weights * torch.stack(alone)).sum(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["kinetic_weight", "frobenius_weight"])
def test_a_negative_price_is_refused(name):
    with pytest.raises(ConfigError, match=f"{name} must be at least 0"):
        small(**{name: -0.1})
