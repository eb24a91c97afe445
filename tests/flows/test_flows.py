"""Flows are densities; models have the sizes and structure of their papers."""

import copy
import math
import pickle

import pytest
import torch
from torch.testing import assert_close

from nf_mnist.app.building import build_flow
from nf_mnist.bijectors import ActNorm, AffineCoupling, Sequential, make_mask
from nf_mnist.errors import ConfigError, ShapeError
from nf_mnist.flows import Flow, StandardNormal, normalization, preprocessing, resflow
from tests.support.helpers import compose_config
from tests.support.registry import FLOWS, make_flow, small_glow, unsettle


def two_dimensional_flow() -> Flow:
    def net() -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.Tanh(), torch.nn.Linear(16, 2))

    mask = make_mask("halves", (2,))
    layers = [AffineCoupling(mask, net(), net()), ActNorm((2,)), AffineCoupling(1 - mask, net(), net())]
    return unsettle(Flow(Sequential(layers), (2,))).double().eval()


def test_a_density_integrates_to_one():
    axis = torch.linspace(-10, 10, 401, dtype=torch.float64)
    points = torch.cartesian_prod(axis, axis)
    total = two_dimensional_flow().log_prob(points).exp().sum() * (axis[1] - axis[0]) ** 2
    assert_close(total, torch.ones_like(total), rtol=1e-6, atol=0)


def test_samples_have_the_mean_of_the_density():
    flow = two_dimensional_flow()
    axis = torch.linspace(-10, 10, 401, dtype=torch.float64)
    points = torch.cartesian_prod(axis, axis)
    weights = flow.log_prob(points).exp() * (axis[1] - axis[0]) ** 2
    samples = flow.sample(20000, generator=torch.Generator().manual_seed(0))
    standard_error = samples.std(0) / math.sqrt(len(samples))
    assert ((samples.mean(0) - weights @ points).abs() < 4 * standard_error).all()


def test_the_base_is_a_standard_normal():
    base, z = StandardNormal(3), torch.randn(4, 3)
    assert_close(base.log_prob(z), torch.distributions.Normal(0, 1).log_prob(z).sum(1))


def test_sampling_is_seeded_and_temperature_scales_the_latents():
    flow = make_flow("resflow")

    def draw(temperature: float = 1.0) -> torch.Tensor:
        return flow.sample(3, temperature, generator=torch.Generator().manual_seed(5))

    assert torch.equal(draw(), draw())
    assert_close(flow.encode(draw(0.5)), 0.5 * flow.encode(draw()), atol=1e-8, rtol=1e-8)
    assert_close(draw(0.0)[0], draw(0.0)[1])


@pytest.mark.parametrize(("n", "temperature"), [(0, 1.0), (-1, 1.0), (1, -0.5)])
def test_sampling_refuses_numbers_out_of_range(n, temperature):
    with pytest.raises(ConfigError, match="sampling needs"):
        make_flow("resflow").sample(n, temperature)


def test_other_shapes_are_refused():
    flow = make_flow("resflow")
    with pytest.raises(ShapeError, match=r"takes \(batch, 1, 8, 8\), got \(2, 1, 8, 9\)"):
        flow.log_prob(torch.zeros(2, 1, 8, 9))
    with pytest.raises(ShapeError, match=r"latents are \(batch, 64\)"):
        flow.decode(torch.zeros(2, 63))


@pytest.mark.parametrize(("model", "millions"), [("resflow", 5.60), ("resflow_double_tanh", 5.60), ("cp3", 6.53)])
def test_models_have_their_published_size(model, millions):
    flow = build_flow(compose_config([f"model={model}"]).model)
    assert round(sum(parameter.numel() for parameter in flow.parameters()) / 1e6, 2) == millions
    assert flow.dims == 784


def test_resflow_masks_alternate_and_begin_with_b_after_each_squeeze():
    flow = build_flow(compose_config(["model.flow.hidden_channels=1", "model.flow.mlp_features=1"]).model)
    couplings = [module for module in flow.modules() if isinstance(module, AffineCoupling)]
    keeps_first_pixel = "".join("A" if layer.mask[0, 0, 0] == 1 else "B" for layer in couplings)
    assert keeps_first_pixel == "AB" + "BA" + "BA" + "BA" + "BA"
    sides = [tuple(layer.mask.shape) for layer in couplings[::2]]
    assert sides == [(1, 28, 28), (4, 14, 14), (2, 14, 14), (8, 7, 7), (4, 7, 7)]


def small_cp3_couplings() -> list[AffineCoupling]:
    sizes = ["model.flow.hidden_channels=16", "model.flow.mlp_features=2"]
    flow = build_flow(compose_config(["model=cp3", *sizes]).model).eval()
    return [module for module in flow.modules() if isinstance(module, AffineCoupling)]


def test_masks_of_cp3_are_even_odd_first_half_and_second_half_in_turn():
    index = torch.arange(784)
    masks = [index % 2 == 0, index % 2 == 1, index < 392, index >= 392]
    couplings = small_cp3_couplings()
    assert len(couplings) == 8
    for coupling, mask in zip(couplings, 2 * masks, strict=True):
        assert torch.equal(coupling.mask, mask.float())


@torch.no_grad()
def test_log_scales_and_shifts_of_cp3_are_bounded_by_a_tanh():
    for coupling in small_cp3_couplings()[:4]:
        for net in (coupling.scale_net, coupling.shift_net):
            last = [module for module in net.modules() if isinstance(module, torch.nn.Linear)][-1]
            last.bias.copy_(torch.linspace(-1000, 1000, 784)[torch.randperm(784)])
        kept = torch.randn(1, 784) * coupling.mask
        free = coupling.mask == 0
        # A transformed element 0 becomes the shift, and 1 the shift plus the scale; networks see only the others.
        shift = coupling(kept)[0][:, free]
        log_scale = (coupling(kept + (1 - coupling.mask))[0][:, free] - shift).log()
        for values in (shift, log_scale):
            assert values.abs().max().item() == pytest.approx(1, abs=1e-5)
            assert values.min() < 0 < values.max()


def test_every_latent_scale_is_reached():
    flow = make_flow("resflow")
    jacobian = torch.func.jacrev(lambda x: flow.encode(x[None])[0])(torch.full((1, 8, 8), 0.3, dtype=torch.float64))
    assert (jacobian.reshape(64, 64).abs().sum(1) > 0).all()


def test_an_mlp_head_lets_a_coupling_see_the_whole_image():
    for features, sees_all in ((8, True), (0, False)):
        cfg = compose_config([f"model.flow.mlp_features={features}", "model.flow.hidden_channels=4"])
        coupling = next(m for m in build_flow(cfg.model).double().eval().modules() if isinstance(m, AffineCoupling))
        unsettle(coupling)
        corner = torch.func.jacrev(lambda x, net=coupling.scale_net: net(x)[0, 0, 0, 0])(
            torch.rand(1, 1, 28, 28, dtype=torch.float64)
        )
        assert bool(corner[0, 0, 20:, 20:].abs().sum() > 0) == sees_all


@pytest.mark.parametrize("name", FLOWS)
def test_a_flow_can_be_pickled(name):
    flow = make_flow(name, torch.float32)
    x = torch.rand(2, *flow.event_shape, generator=torch.Generator().manual_seed(0))
    context = torch.tensor([0, 1]) if flow.n_classes else None
    assert torch.equal(pickle.loads(pickle.dumps(flow)).log_prob(x, context), flow.log_prob(x, context))


def test_labels_are_classes_and_one_for_each_image():
    flow = small_glow(n_classes=3).eval()
    x = torch.rand(4, *flow.event_shape)
    with pytest.raises(ShapeError, match="4 images need as many labels"):
        flow.log_prob(x, torch.tensor([1]))
    flow.check_labels(torch.tensor([0, 2]))
    for labels in ([0, 3], [-1, 2]):
        with pytest.raises(ConfigError, match="labels 0 to 2, the images have"):
            flow.check_labels(torch.tensor(labels))


def test_parts_refuse_unknown_names():
    with pytest.raises(ConfigError, match="unknown preprocess 'nosuch'; choose one of"):
        preprocessing("nosuch", 1e-5, True)
    with pytest.raises(ConfigError, match="unknown norm 'nosuch'; choose one of"):
        normalization("nosuch", 0.1, "batch", 1e-5)


def test_resflow_names_the_sides_that_do_not_halve():
    with pytest.raises(ShapeError, match="squeeze needs even sides, got 3x3"):
        resflow(
            event_shape=(1, 6, 6),
            preprocess=preprocessing("none", 1e-5, True),
            norm=lambda shape: [],
            n_scales=3,
            hidden_channels=4,
            mlp_features=0,
            mask="checkerboard",
            scale_activation="tanh",
        )


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", FLOWS)
def test_channels_last_changes_nothing_but_rounding(name, training):
    flow = make_flow(name).train(training)
    x = torch.rand(6, *flow.event_shape, dtype=torch.float64)
    flow.log_prob(x)  # initializes ActNorm
    other = copy.deepcopy(flow).to(memory_format=torch.channels_last)
    log_probs = [each.log_prob(x) for each in (flow, other)]
    assert_close(log_probs[1], log_probs[0])
    for log_prob in log_probs:
        log_prob.mean().backward()
    for (parameter_name, parameter), twin in zip(flow.named_parameters(), other.parameters(), strict=True):
        assert_close(twin.grad, parameter.grad, msg=parameter_name)
