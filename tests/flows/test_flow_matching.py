"""Flow matching: its loss, its density, samples in few steps, labels and guidance."""

import math

import pytest
import torch
from torch.testing import assert_close

from nf_mnist.bijectors import OdeSolver, Rescale
from nf_mnist.errors import ConfigError, ShapeError
from nf_mnist.flows import Flow, FlowMatching, flow_matching, preprocessing
from nf_mnist.nets import NO_LABEL
from tests.support.helpers import integral_over_two_pixels
from tests.support.registry import events, unsettle
from tests.support.velocities import GaussianVelocity, SmallVelocity

GREY = (1, 8, 8)


def small(n_classes: int = 3, label_dropout: float = 0.5, event_shape=GREY, channels: int = 8, **others) -> Flow:
    settings = {"tolerance": 1e-6, "max_evaluations": 1000, "n_sampling_steps": 6, "unet_blocks": 1, **others}
    flow = flow_matching(
        event_shape=event_shape,
        preprocess=preprocessing("symmetric", 0.0, True),
        unet_channels=channels,
        n_classes=n_classes,
        label_dropout=label_dropout,
        **settings,
    )
    return unsettle(flow).double().eval()


def gaussian_flow(std: float, tolerance: float = 1e-7) -> FlowMatching:
    solver, shape = OdeSolver(tolerance), (1, 1, 2)
    return FlowMatching(Rescale(1.0, 0.0), GaussianVelocity(std), solver, OdeSolver(n_steps=50), shape, 0, 0.0).eval()


def test_the_true_velocities_of_a_gaussian_give_its_density_and_samples():
    flow, x = gaussian_flow(0.3), 0.3 * torch.randn(20, 1, 1, 2, dtype=torch.float64)
    expected = torch.distributions.Normal(0, 0.3).log_prob(x).flatten(1).sum(1)
    assert_close(flow.log_prob(x).detach(), expected, atol=1e-5, rtol=0)
    assert_close(flow.encode(x).detach(), x.flatten(1) / 0.3, atol=1e-5, rtol=0)
    samples = flow.sample(4, generator=torch.Generator().manual_seed(0))
    latents = flow.base.sample(4, torch.Generator().manual_seed(0)).double()
    assert_close(samples.flatten(1), 0.3 * latents, atol=1e-4, rtol=0)


def test_the_loss_is_smallest_for_the_true_velocities():
    """The smallest loss is the variance of ``e - x`` given the state: ``std^2 / ((1 - t)^2 std^2 + t^2)`` over t."""
    x = 0.3 * torch.randn(20000, 1, 1, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    losses = {}
    for std in (0.2, 0.3, 0.45):
        torch.manual_seed(1)
        losses[std] = gaussian_flow(std).training_loss(x, torch.zeros(0)).item()
    assert min(losses, key=losses.get) == 0.3
    time = torch.linspace(0, 1, 100001, dtype=torch.float64)
    smallest = torch.trapezoid(0.09 / ((1 - time) ** 2 * 0.09 + time**2), time).item()
    assert losses[0.3] == pytest.approx(smallest, rel=0.02)


def test_training_recovers_a_gaussian():
    flow = gaussian_flow(0.8)
    optimizer = torch.optim.Adam(flow.parameters(), lr=0.02)
    torch.manual_seed(0)
    for _ in range(150):
        optimizer.zero_grad()
        flow.training_loss(0.3 * torch.randn(500, 1, 1, 2, dtype=torch.float64), torch.zeros(0)).backward()
        optimizer.step()
    assert flow.map.velocity.std.item() == pytest.approx(0.3, abs=0.02)


def test_the_density_in_two_dimensions_integrates_to_one():
    solver, shape = OdeSolver(n_steps=4), (1, 1, 2)
    velocity = unsettle(SmallVelocity(shape)).double()
    flow = FlowMatching(Rescale(2.0, -1.0), velocity, solver, solver, shape, 0, 0.0).double().eval()
    assert integral_over_two_pixels(flow, -6, 7, 401) == pytest.approx(1, rel=1e-4)


def test_decode_undoes_encode_within_the_tolerance():
    flow, x, labels = small(), events(GREY, n=2), torch.tensor([0, 1])
    with torch.no_grad():
        z, log_prob = flow(x, labels)
        assert_close(flow.encode(x, labels), z, atol=1e-3, rtol=0)  # a thousand times the tolerance of one step
        assert_close(flow.decode(z, labels), x, atol=1e-3, rtol=0)
    assert log_prob.isfinite().all()


def test_more_steps_bring_samples_closer_to_decoded_latents():
    errors = []
    for n_steps in (1, 3, 9):
        flow = small(n_classes=0, n_sampling_steps=n_steps, tolerance=1e-5)
        samples = flow.sample(2, generator=torch.Generator().manual_seed(0))
        z = flow.base.sample(2, torch.Generator().manual_seed(0)).double()
        with torch.no_grad():
            errors.append((samples - flow.decode(z)).abs().max().item())
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < errors[0] / 20


def test_every_parameter_gets_a_gradient_from_the_loss():
    flow, x = small(), events(GREY, n=16)
    torch.manual_seed(0)
    flow.training_loss(x, torch.zeros(0), flow.training_context(x, torch.arange(16) % 3)).backward()
    for name, parameter in flow.named_parameters():
        assert parameter.grad.abs().max() > 0, name


def test_labels_condition_everything_and_some_are_hidden_in_training():
    flow, x = small(), events(GREY)
    zeros = torch.zeros(5, dtype=torch.int64)
    assert not torch.allclose(flow.encode(x, zeros), flow.encode(x, zeros + 1))
    labels = flow.training_context(x, torch.arange(3).repeat(400))
    assert (labels == NO_LABEL).double().mean().item() == pytest.approx(0.5, abs=0.06)
    assert torch.equal(flow.validation_context(x, zeros), zeros)
    assert small(n_classes=0).training_context(x, zeros) is None


@pytest.mark.parametrize("label", [2, None])
def test_a_flow_that_is_given_a_label_has_its_velocities(label):
    flow, x = small(), events(GREY)
    labels = torch.full((5,), NO_LABEL if label is None else label)
    given = flow.given_label(label)
    assert isinstance(given, FlowMatching)
    state, time = torch.randn(5, *GREY).double(), torch.rand(5).double()
    assert_close(given.map.velocity(state, time, None), flow.map.velocity(state, time, labels), atol=0, rtol=0)
    assert_close(given.encode(x), flow.encode(x, labels), atol=0, rtol=0)
    others = flow.map.velocity(state, time, torch.full((5,), 1))
    assert not torch.allclose(given.map.velocity(state, time, None), others)


def test_guided_samples_move_away_from_those_without_labels():
    flow, x, labels = small(), events(GREY), torch.tensor([0, 1, 2, 0, 1])
    state, time = 2 * x - 1, torch.full((5,), 0.3, dtype=x.dtype)
    with torch.no_grad():
        given = flow.map.velocity(state, time, labels)
        hidden = flow.map.velocity(state, time, torch.full_like(labels, NO_LABEL))
        guided = flow.guided(1.5)
        assert_close(guided.map.velocity(state, time, labels), given + 1.5 * (given - hidden))
        assert_close(flow.guided(0.0).encode(x, labels), flow.encode(x, labels))
    assert not torch.allclose(guided.sample(3, context=labels[:3]), flow.sample(3, context=labels[:3]))


@pytest.mark.parametrize(
    ("flow", "temperature", "message"),
    [
        (lambda: small(n_classes=0), None, "guidance needs class labels"),
        (lambda: small(label_dropout=0.0), None, "some of them hidden in training"),
        (small, 2.0, "attention_temperature= is for model=tarflow only"),
    ],
)
def test_guidance_that_has_nothing_to_move_away_from_is_refused(flow, temperature, message):
    with pytest.raises(ConfigError, match=message):
        flow().guided(1.0, temperature)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match="images of 7x8 have an odd side"):
        small(event_shape=(1, 7, 8))
    with pytest.raises(ConfigError, match="unet_channels must be a multiple of 8, got 12"):
        small(channels=12)
    with pytest.raises(ConfigError, match="tolerance must be above 0"):
        small(tolerance=0.0)
    with pytest.raises(ConfigError, match="label_dropout must be from 0 to 1"):
        small(label_dropout=math.inf)


@pytest.mark.parametrize("channels", [8, 24, 88])
def test_every_multiple_of_eight_channels_has_heads_that_divide_them(channels):
    flow = small(channels=channels).float()
    velocity = flow.map.velocity(torch.rand(2, *GREY), torch.rand(2), torch.zeros(2, dtype=torch.int64))
    assert velocity.shape == (2, *GREY)
