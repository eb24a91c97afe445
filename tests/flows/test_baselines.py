"""Published flows: their sizes, labels and depth."""

import math
from itertools import pairwise

import pytest
import torch
from torch.testing import assert_close

from nf_mnist.app.building import build_module
from nf_mnist.bijectors import AffineCoupling, Flatten, Logit, Sequential, Squeeze, make_mask
from nf_mnist.data import UniformDequantizer, draw_noise
from nf_mnist.errors import ConfigError
from nf_mnist.flows import Flow, uva
from nf_mnist.flows.components import alternating_masks
from nf_mnist.metrics import bits_per_dim
from tests.support.helpers import compose_config
from tests.support.registry import (
    GREY,
    events,
    net,
    parts,
    small_glow,
    small_nice,
    small_realnvp,
    small_spline,
    small_uva,
    unsettle,
)

CONDITIONAL = {
    "nice": lambda: small_nice(n_classes=3),
    "realnvp": lambda: small_realnvp(n_classes=3),
    "glow": lambda: small_glow(n_classes=3),
    "spline": lambda: small_spline(n_classes=3),
    "uva": lambda: small_uva(1, 2, n_classes=3),
}


@pytest.mark.parametrize(
    ("model", "parameters"), [("uva_simple", 556_312), ("uva_vardeq", 628_388), ("uva_multiscale", 1_711_818)]
)
def test_the_tutorials_models_have_their_published_number_of_parameters(model, parameters):
    module = build_module(compose_config([f"model={model}"]))
    assert sum(parameter.numel() for parameter in module.parameters()) == parameters


def test_nices_published_nats_are_its_published_bits():
    log_q = UniformDequantizer()(torch.zeros(1, 1, 28, 28, dtype=torch.uint8), torch.zeros(1, 1, 28, 28).long())[1]
    assert round(bits_per_dim(torch.tensor([1980.50]), log_q, 784).item(), 2) == 4.36


def test_an_untrained_nice_on_zeros_is_a_product_of_logistics():
    flow = build_module(compose_config(["model=nice", "model.flow.hidden_features=8"])).flow.eval()
    for part in flow.modules():
        if isinstance(part, torch.nn.Linear):
            torch.nn.init.zeros_(part.weight)
            torch.nn.init.zeros_(part.bias)
    x = events((1, 28, 28), dtype=torch.float32)
    assert_close(flow.log_prob(x), -(x + 2 * torch.log1p((-x).exp())).flatten(1).sum(1))


def test_the_multi_scale_flow_has_checkerboards_and_then_channels():
    flow = small_uva(2, 2, 3)
    couplings = [part for part in flow.modules() if isinstance(part, AffineCoupling)]
    assert [tuple(layer.mask.shape) for layer in couplings[::2]] == [(1, 8, 8), (4, 4, 4), (8, 2, 2), (8, 2, 2)]
    assert sum(isinstance(part, Squeeze) for part in flow.modules()) == 2
    for layer, next_layer in pairwise(couplings):
        assert layer.mask.shape != next_layer.mask.shape or torch.equal(layer.mask, 1 - next_layer.mask)
    assert couplings[0].mask[0, :2, :2].tolist() == [[1, 0], [0, 1]]
    assert couplings[2].mask.flatten(1).tolist() == [[1] * 16] * 2 + [[0] * 16] * 2


@pytest.mark.parametrize("sizes", [([], []), ([1, 2], [4])])
def test_scales_need_as_many_depths_as_widths(sizes):
    with pytest.raises(ConfigError, match="one number for each scale"):
        uva(**parts(), n_couplings_at=sizes[0], hidden_channels_at=sizes[1], n_classes=0)


@pytest.mark.parametrize("name", CONDITIONAL)
def test_labels_change_the_density_and_keep_it_invertible(name):
    flow = unsettle(CONDITIONAL[name]()).double().eval()
    x, label = events(GREY), torch.tensor([0, 1, 2, 0, 1])
    z, log_prob = flow(x, label)
    assert_close(flow.decode(z, label), x, atol=1e-9, rtol=0)
    assert ((flow.log_prob(x, (label + 1) % 3) - log_prob).abs() > 1e-6).all()
    log_prob.sum().backward()
    embeddings = [p.grad for n, p in flow.named_parameters() if "embedding" in n]
    assert embeddings
    assert all(gradient.abs().max() > 0 for gradient in embeddings)
    with pytest.raises(ConfigError, match="3 class labels"):
        flow(x)


@pytest.mark.parametrize("name", CONDITIONAL)
def test_a_flow_that_is_given_a_label_has_the_density_of_that_class(name):
    flow = unsettle(CONDITIONAL[name]()).double().eval()
    x, labels, given = events(GREY), torch.full((5,), 2), flow.given_label(2)
    z, log_prob = given(x)
    assert_close(log_prob, flow.log_prob(x, labels), atol=0, rtol=0)
    assert_close(given.decode(z), flow.decode(z, labels), atol=0, rtol=0)
    assert (given.n_classes, given.bijector.is_continuous) == (0, flow.bijector.is_continuous)
    draws = [one.sample(3, generator=torch.Generator().manual_seed(0)) for one in (given, given)]
    assert_close(draws[0], draws[1], atol=0, rtol=0)
    assert not any(
        parameter.data_ptr() not in {p.data_ptr() for p in flow.parameters()} for parameter in given.parameters()
    )


@pytest.mark.parametrize(
    ("n_classes", "label", "message"),
    [
        (3, 3, "label=3, but this flow has 3 labels, counted from 0"),
        (3, -1, "label=-1, but this flow has 3 labels"),
        (3, None, "learned no images without their labels; give a label, 0 to 2"),
        (0, 1, "this flow has no class labels; leave the label out"),
    ],
)
def test_a_label_that_a_flow_does_not_have_is_refused(n_classes, label, message):
    with pytest.raises(ConfigError, match=message):
        small_nice(n_classes).given_label(label)


def bars(n: int) -> torch.Tensor:
    """Return levels of black images of 8x8 with a bright bar at a random position."""
    column = torch.arange(8) - torch.randint(8, (n, 1, 1, 1))
    return torch.where(column == 0, 250, 0).expand(-1, 1, 8, -1).to(torch.uint8)


def identity_net() -> torch.nn.Module:
    """Return a network on 64 dimensions whose last layer starts at zero."""
    network = net((64,))
    for parameter in network[3].parameters():
        torch.nn.init.zeros_(parameter)
    return network


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_sixty_four_couplings_train_for_two_hundred_steps_without_nan(seed):
    torch.manual_seed(seed)
    nets = [(identity_net(), identity_net()) for _ in range(64)]
    masks = alternating_masks(make_mask("even_odd", (64,)), 64)
    layers = [Logit(), Flatten(GREY), *(AffineCoupling(mask, *pair) for mask, pair in zip(masks, nets, strict=True))]
    flow, dequantizer = Flow(Sequential(layers), GREY), UniformDequantizer()
    optimizer, losses = torch.optim.Adam(flow.parameters(), lr=1e-3), []
    for _ in range(200):
        levels = bars(16)
        x, log_q = dequantizer(levels, draw_noise(levels))
        loss = (log_q - flow.log_prob(x)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert all(parameter.isfinite().all() for parameter in flow.parameters())
    assert all(map(math.isfinite, losses))
    assert sum(losses[-50:]) / 50 < losses[0] / 2, "and it learns"
