"""Properties that every bijector and every model has in evaluation mode."""

import inspect
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import nf_mnist.bijectors
from nf_mnist.bijectors import Bijector
from nf_mnist.diagnostics import exact_log_det, violations
from nf_mnist.flows import ConditionalFlow
from tests.support.registry import BIJECTORS, FLOWS, events, make_bijector, make_flow

FLOAT64, FLOAT32 = torch.float64, torch.float32
TOLERANCE = {FLOAT64: 1e-9, FLOAT32: 1e-4}
bijectors = pytest.mark.parametrize("name", BIJECTORS)
flows = pytest.mark.parametrize("name", FLOWS)
dtypes = pytest.mark.parametrize("dtype", [FLOAT64, FLOAT32], ids=["float64", "float32"])


def log_det_of_jacobian(function, x: Tensor) -> Tensor:
    """Return log|det df/dx| of each event, by autograd."""

    def flat(value: Tensor) -> Tensor:
        return function(value.reshape(1, *x.shape[1:])).flatten()

    jacobian = torch.stack([torch.func.jacfwd(flat)(event.flatten()) for event in x])
    return torch.linalg.slogdet(jacobian).logabsdet


def every_parameter_has_a_gradient(module: nn.Module) -> None:
    for parameter_name, parameter in module.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.abs().max() > 0, parameter_name


def gradients_are_slopes(function: Callable[[], tuple[Tensor, ...]], leaves: Sequence[Tensor]) -> None:
    """Compare directional derivatives of weighted sums of two outputs by autograd with central differences."""
    h = 1e-7  # at 1e-6 some ReLU of thousands changes sides; at 1e-8 rounding begins to show
    generator = torch.Generator().manual_seed(5)
    directions = [torch.randn(leaf.shape, generator=generator, dtype=leaf.dtype) for leaf in leaves]

    def sums() -> Tensor:
        z, log_det = function()
        parts = (z.sin(), log_det)  # a sine, so that the slope depends on z
        return torch.stack([(part.flatten() * torch.linspace(1, 2, part.numel()).to(part)).sum() for part in parts])

    def moved(by: float) -> Tensor:
        with torch.no_grad():
            for leaf, direction in zip(leaves, directions, strict=True):
                leaf.add_(direction, alpha=by)
            found = sums()
            for leaf, direction in zip(leaves, directions, strict=True):
                leaf.sub_(direction, alpha=by)
        return found

    def slope(total: Tensor) -> Tensor:
        if not total.requires_grad:
            return torch.zeros_like(total)
        gradients = torch.autograd.grad(total, leaves, retain_graph=True, materialize_grads=True, allow_unused=True)
        products = zip(gradients, directions, strict=True)
        return torch.stack([(gradient * direction).sum() for gradient, direction in products]).sum()

    found = torch.stack([slope(total) for total in sums()]).detach()
    assert_close(found, (moved(h) - moved(-h)) / (2 * h), rtol=1e-5, atol=1e-5)


def test_every_bijector_has_an_example_in_the_registry():
    public = {getattr(nf_mnist.bijectors, name) for name in nf_mnist.bijectors.__all__}
    classes = {value for value in public if inspect.isclass(value) and issubclass(value, Bijector)}
    examples = {type(module) for build, _ in BIJECTORS.values() for module in build().modules()}
    assert {value for value in classes if not inspect.isabstract(value)} <= examples


@bijectors
@dtypes
def test_inverse_undoes_forward(name, dtype):
    bijector, x = make_bijector(name, dtype), events(BIJECTORS[name][1], dtype=dtype)
    z, log_det = bijector(x)
    back, log_det_back = bijector.inverse_and_log_det(z)
    assert_close(back, x, atol=TOLERANCE[dtype], rtol=0)
    assert_close(log_det_back, -log_det, atol=10 * TOLERANCE[dtype], rtol=TOLERANCE[dtype])


@bijectors
@dtypes
def test_forward_undoes_inverse(name, dtype):
    bijector, x = make_bijector(name, dtype), events(BIJECTORS[name][1], dtype=dtype)
    z = torch.randn_like(bijector(x)[0])
    back, _ = bijector(bijector.inverse_and_log_det(z)[0])
    assert_close(back, z, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


@bijectors
def test_log_det_is_that_of_the_jacobian(name):
    bijector, x = make_bijector(name), events(BIJECTORS[name][1])
    z, log_det = bijector(x)
    assert_close(log_det, log_det_of_jacobian(lambda v: bijector(v)[0], x), rtol=1e-8, atol=1e-10)
    _, log_det = bijector.inverse_and_log_det(z)
    expected = log_det_of_jacobian(lambda v: bijector.inverse_and_log_det(v)[0], z)
    assert_close(log_det, expected, rtol=1e-8, atol=1e-10)


@bijectors
def test_a_gradient_reaches_every_parameter_of_a_bijector(name):
    bijector, x = make_bijector(name), events(BIJECTORS[name][1])
    z, log_det = bijector(x)
    if list(bijector.parameters()):
        (z.pow(3).sum() + log_det.square().sum()).backward()
    every_parameter_has_a_gradient(bijector)


@pytest.mark.parametrize("name", [name for name, (build, _) in BIJECTORS.items() if list(build().parameters())])
def test_gradients_of_the_parameters_of_a_bijector_are_slopes(name):
    bijector, x = make_bijector(name), events(BIJECTORS[name][1])
    gradients_are_slopes(lambda: bijector(x), list(bijector.parameters()))
    z = torch.randn_like(bijector(x)[0])
    gradients_are_slopes(lambda: bijector.inverse_and_log_det(z), list(bijector.parameters()))


@bijectors
def test_gradients_of_the_data_of_a_bijector_are_slopes(name):
    bijector, x = make_bijector(name), events(BIJECTORS[name][1]).requires_grad_()
    gradients_are_slopes(lambda: bijector(x), [x])


@bijectors
@dtypes
def test_the_contract_is_kept(name, dtype):
    bijector, x = make_bijector(name, dtype), events(BIJECTORS[name][1], dtype=dtype)
    before = x.clone()
    z, log_det = bijector(x)
    latent = z.clone()
    back, log_det_back = bijector.inverse_and_log_det(z)
    assert torch.equal(x, before)
    assert torch.equal(z, latent)
    assert {part.dtype for part in (z, log_det, back, log_det_back)} == {dtype}
    assert log_det.shape == log_det_back.shape == (len(x),)
    assert back.shape == x.shape
    assert z[0].numel() == x[0].numel()
    found = dict(violations(bijector, x))
    assert set(found.values()) == {None}, found


@bijectors
def test_events_of_a_batch_do_not_affect_each_other(name):
    bijector, x = make_bijector(name), events(BIJECTORS[name][1])
    z, log_det = bijector(x)
    alone = [bijector(event[None]) for event in x]
    assert_close(z, torch.cat([part[0] for part in alone]), atol=1e-12, rtol=1e-12)
    assert_close(log_det, torch.cat([part[1] for part in alone]), atol=1e-12, rtol=1e-12)


@bijectors
def test_a_bijector_survives_its_state_dict(name):
    bijector, x = make_bijector(name), events(BIJECTORS[name][1])
    other = BIJECTORS[name][0]().double().eval()
    other.load_state_dict(bijector.state_dict())
    assert torch.equal(bijector(x)[0], other(x)[0])


@flows
@dtypes
def test_decode_undoes_encode_on_data_and_on_samples(name, dtype):
    flow = make_flow(name, dtype)
    data = events(flow.event_shape, dtype=dtype)
    samples = flow.sample(5, generator=torch.Generator().manual_seed(3))
    for x in (data, samples):
        z = flow.encode(x)
        assert z.shape == (5, flow.dims)
        assert z.dtype == dtype
        assert_close(flow.decode(z), x, atol=TOLERANCE[dtype], rtol=0)


@flows
def test_log_prob_is_that_of_the_jacobian(name):
    flow = make_flow(name)
    x = events(flow.event_shape, n=2)
    z, log_prob = flow(x)
    base = torch.distributions.Normal(0, 1).log_prob(z).sum(1)
    exact = log_det_of_jacobian(flow.encode, x)
    assert_close(log_prob, base + exact, rtol=1e-8, atol=1e-8)
    assert_close(flow.log_prob(x), log_prob)
    if not isinstance(flow, ConditionalFlow):  # whose bijector takes a context
        assert exact_log_det(flow.bijector, x[:1])[:2] == pytest.approx(2 * (exact[0].item(),), rel=1e-8, abs=1e-8)


@flows
def test_a_gradient_reaches_every_parameter_of_a_model(name):
    flow = make_flow(name)
    x = events(flow.event_shape, n=8)
    context = flow.training_context((256 * x).long(), torch.zeros(8, dtype=torch.int64))
    context = None if context is None else context.to(x)
    (flow.log_prob(x, context) * torch.linspace(1, 2, 8, dtype=x.dtype)).sum().backward()  # unequal weights
    every_parameter_has_a_gradient(flow)


@flows
def test_gradients_of_the_parameters_of_a_model_are_slopes(name):
    flow = make_flow(name)
    x = events(flow.event_shape)
    context = flow.training_context((256 * x).long(), torch.zeros(5, dtype=torch.int64))
    context = None if context is None else context.to(x)
    gradients_are_slopes(lambda: flow.bijector(x, context), list(flow.parameters()))


@flows
def test_events_of_a_batch_do_not_affect_each_other_in_a_model(name):
    flow = make_flow(name)
    x = events(flow.event_shape)
    alone = torch.cat([flow.log_prob(event[None]) for event in x])
    assert_close(flow.log_prob(x), alone, rtol=1e-12, atol=1e-9)
