"""Completions by flow matching: observed pixels stay, and hidden ones come from a conditional distribution."""

import pytest
import torch
from torch.testing import assert_close

from nf_mnist.bijectors import OdeSolver, Rescale
from nf_mnist.errors import ConfigError
from nf_mnist.flows import FlowMatching
from nf_mnist.inpainting import make_observed, replacement
from nf_mnist.inpainting.methods.replacement import renoised
from tests.support.registry import events, make_flow
from tests.support.velocities import GaussianPairVelocity

SETTINGS = {"n_samples": 3, "n_steps": 3, "n_repeats": 2}


def test_observed_pixels_stay_bit_for_bit_and_draws_differ():
    flow, x, observed = make_flow("flow_matching"), events((1, 4, 4)), make_observed("lower", (1, 4, 4))
    found = replacement(flow, x, observed, generator=torch.Generator().manual_seed(0), **SETTINGS)
    assert found.x.shape == (3, 5, 1, 4, 4)
    assert torch.equal(found.x[:, :, observed], x[:, observed].expand(3, -1, -1))
    assert not torch.equal(found.x[0], found.x[1])
    again = replacement(flow, x, observed, generator=torch.Generator().manual_seed(0), **SETTINGS)
    assert torch.equal(found.x, again.x)


def test_a_state_with_fresh_noise_has_the_variance_of_the_later_time():
    generator = torch.Generator().manual_seed(0)
    x, e, fresh = (torch.randn(200_000, generator=generator, dtype=torch.float64) for _ in range(3))
    state = renoised(0.7 * 0.5 * x + 0.3 * e, 0.3, 0.8, fresh)
    assert_close(state.var(), torch.tensor(0.2**2 * 0.5**2 + 0.8**2, dtype=torch.float64), rtol=0.02, atol=0)
    assert_close((state * x).mean(), torch.tensor(0.2 * 0.5, dtype=torch.float64), rtol=0, atol=0.01)


def test_a_hidden_pixel_has_the_conditional_distribution_of_a_gaussian():
    """Two pixels are normal about 0.5, with standard deviation 0.1 and correlation 0.8."""
    solver, shape = OdeSolver(n_steps=4), (1, 1, 2)
    flow = FlowMatching(Rescale(10.0, -5.0), GaussianPairVelocity(1.0, 0.8), solver, solver, shape, 0, 0.0).double()
    x = torch.full((1, 1, 1, 2), 0.6, dtype=torch.float64)
    observed = torch.tensor([[[True, False]]])
    found = replacement(
        flow, x, observed, generator=torch.Generator().manual_seed(0), n_samples=4000, n_steps=30, n_repeats=10
    )
    hidden = found.x[:, 0, 0, 0, 1]
    assert hidden.mean().item() == pytest.approx(0.5 + 0.8 * 0.1, abs=0.01)
    assert hidden.std().item() == pytest.approx(0.1 * 0.6, rel=0.1)


@pytest.mark.parametrize("name", ["glow", "ffjord"])
def test_other_flows_are_refused(name):
    flow = make_flow(name)
    observed = make_observed("lower", flow.event_shape)
    with pytest.raises(ConfigError, match="method=replacement needs straight paths"):
        replacement(flow, events(flow.event_shape), observed, generator=torch.Generator(), **SETTINGS)


@pytest.mark.parametrize("name", ["n_steps", "n_repeats"])
def test_numbers_below_one_are_refused(name):
    flow, observed = make_flow("flow_matching"), make_observed("lower", (1, 4, 4))
    with pytest.raises(ConfigError, match=f"{name} must be at least 1"):
        replacement(flow, events((1, 4, 4)), observed, generator=torch.Generator(), **{**SETTINGS, name: 0})
