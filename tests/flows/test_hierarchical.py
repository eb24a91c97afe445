"""Properties of maps of grey levels beyond those of every bijector: exact levels, and no peeking."""

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from benchmarks.density.bits_by_coupling import bits
from nf_mnist.app.building import build_flow
from nf_mnist.bijectors import (
    DiscretizedMixture,
    GroupedMixture,
    MarginalGaussianization,
    NeighbourPixel,
    Squeeze,
    n_parameters,
)
from nf_mnist.bijectors.discretized_logistic import LevelMixture, frequent_levels, levels_at
from nf_mnist.bijectors.mixture_coupling import mixture_forward, mixture_inverse
from nf_mnist.bijectors.quantile_map import N_LEVELS, UNIFORM_SHARE
from nf_mnist.data import UniformDequantizer, draw_noise, evaluation_noise, mnist, to_levels
from nf_mnist.errors import ConfigError, ShapeError
from nf_mnist.flows import Flow
from nf_mnist.flows.geometry import CHANNEL_ORDER, nearest_neighbours, pixel_groups
from nf_mnist.metrics import bits_per_dim
from nf_mnist.nets import ContextResNet, GroupedTransformer
from tests.bijectors.test_laws import log_det_of_jacobian
from tests.support.helpers import compose_config
from tests.support.registry import make_flow, mixture_coupling, small_hierarchical, unsettle

LEVELS = torch.arange(N_LEVELS + 0.0, dtype=torch.float64)


def random_mixture(dtype=torch.float64, n_pixels: int = 7) -> LevelMixture:
    """Return mixtures from vague to nearly certain."""
    parameters = 4 * torch.randn(1, n_parameters(3), n_pixels, dtype=torch.float64)
    return LevelMixture.from_parameters(parameters.to(dtype))


def table(mixture: LevelMixture) -> torch.Tensor:
    """Return the probabilities of all levels, shape (256, n_pixels)."""
    return torch.stack([mixture.probability(level.to(mixture.atom).expand_as(mixture.atom))[0] for level in LEVELS])


def test_probabilities_of_a_mixture_sum_to_one_and_none_is_zero():
    probabilities = table(random_mixture())
    assert_close(probabilities.sum(0), torch.ones(7).double(), rtol=1e-12, atol=0)
    assert probabilities.min() >= UNIFORM_SHARE / N_LEVELS


def test_edges_are_the_sums_of_probabilities_below_and_above():
    mixture = random_mixture()
    probabilities = table(mixture)
    for k in (0, 1, 2, 100, 255, 256):
        below, above = mixture.edges(torch.full((1, 7), float(k), dtype=torch.float64))
        assert_close(below[0], probabilities[:k].sum(0), rtol=1e-9, atol=1e-12)
        assert_close(above[0], probabilities[k:].sum(0), rtol=1e-9, atol=1e-12)


def test_a_mixture_is_the_discretized_logistic_of_its_definition():
    parameters = torch.tensor([[-1e4, 0.3, 0.1, -2.0]], dtype=torch.float64)[:, :, None]
    mean, inverse_scale, level = 0.1, math.exp(2.0), 150

    def logistic(edge: float) -> float:
        return 1 / (1 + math.exp(-(edge / 128 - 1 - mean) * inverse_scale))

    expected = (1 - UNIFORM_SHARE) * (logistic(level + 1) - logistic(level)) + UNIFORM_SHARE / 256
    found = LevelMixture.from_parameters(parameters).probability(torch.full((1, 1), float(level), dtype=torch.float64))
    assert found.item() == pytest.approx(expected, rel=1e-12)


def test_a_logistic_at_a_reference_level_repeats_it():
    # No atom, and all weight on the logistic at the reference level, with the smallest scale.
    parameters = torch.tensor([-30.0, 0.0, 0.0, 0.0, 30.0, -30.0]).double()[None, :, None]
    for level in (0.0, 1.0, 93.0, 255.0):
        here = torch.full((1, 1), level, dtype=torch.float64)
        mixture = LevelMixture.from_parameters(parameters, here[:, None])
        assert mixture.probability(here).item() > 0.998
        assert table(mixture).sum().item() == pytest.approx(1, abs=1e-12)


def test_neighbours_are_the_nearest_known_pixels_of_the_image_before_the_squeeze():
    image = torch.arange(64.0).reshape(1, 1, 8, 8)
    four = Squeeze((1, 8, 8))(image)[0][:, list(CHANNEL_ORDER)]
    for n_kept in (1, 2, 3):
        found = levels_at(four[:, :n_kept], nearest_neighbours(n_kept, 4))
        row, column = divmod(int(four[0, n_kept, 1, 2]), 8)
        distance = math.sqrt(2) if n_kept == 1 else 1.0
        for number in found[0, :, 1, 2].tolist():
            assert math.dist((row, column), divmod(int(number), 8)) == pytest.approx(distance)
        assert len(set(found[0, :, 1, 2].tolist())) == 4
    assert {neighbour.channel for neighbour in nearest_neighbours(1, 99)} == {0}


def test_neighbours_beyond_the_border_are_black():
    level = torch.full((1, 1, 2, 2), 255.0)
    assert levels_at(level, [NeighbourPixel(0, -1, 0), NeighbourPixel(0, 0, 1)])[0].tolist() == [
        [[0.0, 0.0], [255.0, 255.0]],
        [[255.0, 0.0], [255.0, 0.0]],
    ]


def test_frequent_levels_are_counted_without_black():
    level = torch.tensor([[[0, 0, 0, 9], [9, 254, 254, 254]], [[0, 0, 0, 0], [7, 0, 0, 7]]])[:, None].double()
    assert frequent_levels(level, 2)[:, :, 0, 0].tolist() == [[254.0, 9.0], [7.0, 1.0]]
    assert frequent_levels(level, 2).shape == (2, 2, 2, 4)
    assert frequent_levels(level, 0).shape == (2, 0, 2, 4)


@pytest.mark.parametrize("build", [small_hierarchical, lambda: small_hierarchical(n_groups=1)])
def test_log_prob_is_that_of_levels_whatever_the_dither(build):
    flow = unsettle(build()).double().eval()
    levels = torch.randint(256, (4, 1, 8, 8), dtype=torch.uint8)
    draws = [flow.log_prob(UniformDequantizer()(levels, draw_noise(levels))[0].double()) for _ in range(2)]
    assert_close(draws[0], draws[1], rtol=1e-10, atol=1e-9)


def test_a_small_discrete_density_sums_to_one():
    # All 256^2 images of two pixels; the second is predicted from the first.
    net = torch.nn.Conv2d(2, n_parameters(2), 1)
    coupling = DiscretizedMixture((2, 1, 1), 1, net).double()
    first, second = torch.cartesian_prod(LEVELS, LEVELS).T
    x = ((torch.stack([first, second], 1) + 0.5) / 256).reshape(-1, 2, 1, 1)
    z, log_det = coupling(x)
    # Density of the transformed pixel given the first, integrated over its boxes.
    log_p = torch.distributions.Normal(0, 1).log_prob(z[:, 1, 0, 0]) + log_det - math.log(256)
    assert_close(log_p.exp().reshape(256, 256).sum(1), torch.ones(256).double(), rtol=1e-10, atol=0)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["extreme", "random"])
def test_levels_survive_a_round_trip_in_float32(kind):
    flow = make_flow("hierarchical", torch.float32)
    levels = torch.randint(256, (50, 1, 8, 8), dtype=torch.uint8)
    if kind == "extreme":
        levels = levels // 128 * 255
    x = (levels + 0.5) / 256
    assert torch.equal(to_levels(flow.decode(flow.encode(x))), levels)


@torch.no_grad()
def test_every_level_survives_under_every_kind_of_mixture_in_float32():
    mixture = random_mixture(torch.float32, n_pixels=2000)
    for level in (0, 1, 127, 254, 255):
        x = torch.full((1, 2000), (level + 0.5) / 256)
        back, _ = mixture_inverse(mixture, mixture_forward(mixture, x)[0])
        assert torch.equal(to_levels(back), torch.full((1, 2000), level, dtype=torch.uint8))


def test_marginal_gaussianization_alone_scores_the_cross_entropy_of_the_counted_marginals():
    counted, held_out = mnist().train.levels[:6000].split([5000, 1000])
    layer = MarginalGaussianization((1, 28, 28))
    layer.fit(counted)
    z, log_det = layer((held_out + 0.5) / 256)
    log_p = -0.5 * (z.double().square() + math.log(2 * math.pi)).flatten(1).sum(1) + log_det
    bpd = (784 * math.log(256) - log_p.mean()) / (784 * math.log(2))
    shares = np.stack([(counted.flatten(1).numpy() == level).mean(0) for level in range(256)])
    probabilities = (1 - UNIFORM_SHARE) * shares + UNIFORM_SHARE / 256
    of_images = probabilities[held_out.flatten(1).numpy(), np.arange(784)]
    assert bpd.item() == pytest.approx(-np.log2(of_images).mean(), rel=1e-5)
    assert torch.equal(to_levels(layer.inverse_and_log_det(z)[0]), held_out)


def predicted(flow: Flow, x: torch.Tensor) -> list[torch.Tensor]:
    """Return what each conditioner predicts for x, first to last."""
    seen = []
    nets = [m.net for m in flow.modules() if isinstance(m, DiscretizedMixture | GroupedMixture)]
    hooks = [net.register_forward_hook(lambda net, inputs, output: seen.append(output)) for net in nets]
    flow.encode(x)
    for hook in hooks:
        hook.remove()
    return seen


def test_no_conditioner_sees_the_dither():
    flow = make_flow("hierarchical")
    levels = torch.randint(256, (3, 1, 8, 8))
    one, other = (predicted(flow, (levels + dither).double() / 256) for dither in (0.1, 0.9))
    assert len(one) == 4
    assert all(torch.equal(part, same) for part, same in zip(one, other, strict=True))


def test_no_conditioner_of_a_coupling_sees_what_it_transforms_or_what_comes_later():
    for n_kept in (1, 3):
        coupling = unsettle(mixture_coupling(n_kept)).double()
        x = torch.rand(1, 4, 4, 4, dtype=torch.float64)
        changed = x.clone()
        changed[:, n_kept:] = torch.rand_like(changed[:, n_kept:])
        own, other = (coupling.predict_mixture(value, None) for value in (x, changed))
        assert all(torch.equal(part, same) for part, same in zip(own[:4], other[:4], strict=True))
        changed[:, n_kept - 1] = 0
        assert not torch.equal(own.means, coupling.predict_mixture(changed, None).means)


def test_no_pixel_changes_what_is_predicted_for_its_own_or_for_earlier_groups():
    flow = make_flow("hierarchical")
    (coarsest,) = [module for module in flow.modules() if isinstance(module, GroupedMixture)]
    groups = coarsest.groups
    x = torch.rand(1, 1, 4, 4, dtype=torch.float64)
    before = coarsest.net(torch.cat([x, x], 1))
    for row in range(4):
        for column in range(4):
            changed = x.clone()
            changed[..., row, column] += 0.5
            moved = (coarsest.net(torch.cat([changed, changed], 1)) != before).any(1)[0]
            later = groups > groups[row, column]
            assert not moved[~later].any()
            assert moved[later].all()


def test_a_peeking_conditioner_passes_the_jacobian_and_fails_here():
    class Peeking(torch.nn.Module):
        def forward(self, features):
            return features[:, :1].repeat(1, n_parameters(1), 1, 1)

    peeking = GroupedMixture(pixel_groups(4, 4, 4), Peeking()).double()
    x = torch.rand(1, 1, 4, 4, dtype=torch.float64)
    assert_close(peeking(x)[1], log_det_of_jacobian(lambda value: peeking(value)[0], x), rtol=1e-8, atol=1e-10)
    changed = x.clone()
    changed[..., 0, 0] += 0.4
    moved = (peeking.net(torch.cat([changed, changed], 1)) != peeking.net(torch.cat([x, x], 1))).any(1)[0]
    assert moved[peeking.groups <= peeking.groups[0, 0]].any()


def test_groups_are_spread_and_all_used():
    groups = pixel_groups(7, 7, 8)
    assert sorted(set(groups.flatten().tolist())) == list(range(8))
    assert (groups[:, 1:] != groups[:, :-1]).all(), "neighbours are never in one group"
    for n_groups in (0, 17):
        with pytest.raises(ConfigError, match="1 to 16 groups"):
            pixel_groups(7, 7, n_groups)


def test_sampling_takes_at_most_sixteen_passes_of_a_network():
    flow = build_flow(compose_config(["model=hierarchical", "model.flow.channels=4", "model.flow.n_blocks=1"]).model)
    passes = []
    for module in flow.modules():
        if isinstance(module, DiscretizedMixture | GroupedMixture):
            module.net.register_forward_hook(lambda net, inputs, output: passes.append(1))
    x = flow.sample(2)
    assert len(passes) == 14
    assert x.shape == (2, 1, 28, 28)


def test_images_that_do_not_suit_are_refused():
    with pytest.raises(ShapeError, match="even sides, got 7x7"):
        build_flow(compose_config(["model=hierarchical", "model.flow.n_scales=3"]).model)
    with pytest.raises(ConfigError, match=r"model\.flow\.n_components must be at least 1, got 0"):
        build_flow(compose_config(["model=hierarchical", "model.flow.n_components=0"]).model)
    with pytest.raises(ShapeError, match="cannot transform channel 4"):
        DiscretizedMixture((4, 2, 2), 4, torch.nn.Identity())
    with pytest.raises(ShapeError, match="channel 1 can refer to the channels before it"):
        DiscretizedMixture((4, 2, 2), 1, torch.nn.Identity(), [NeighbourPixel(1, 0, 0)])
    with pytest.raises(ConfigError, match="n_references must be at least 0, got -1"):
        small_hierarchical(n_references=-1)


def test_labels_condition_every_network():
    overrides = ["model=hierarchical", "model.flow.channels=4", "model.flow.n_blocks=1", "model.flow.n_classes=10"]
    flow = unsettle(build_flow(compose_config(overrides).model)).eval()
    x = torch.rand(1, 1, 28, 28)
    nets = [m.net for m in flow.modules() if isinstance(m, DiscretizedMixture | GroupedMixture)]
    assert len(nets) == 7
    one, other = (flow.encode(x, torch.tensor([label])) for label in (3, 8))
    assert np.count_nonzero((one != other).numpy()) > 500
    assert torch.equal(to_levels(flow.decode(one, torch.tensor([3]))), to_levels(x))
    assert flow.sample(11).shape == (11, 1, 28, 28)
    with pytest.raises(ConfigError, match="conditioned on 10 class labels"):
        flow.log_prob(x)
    with pytest.raises(ConfigError, match="has no labels"):
        make_flow("hierarchical", torch.float32).log_prob(torch.rand(1, 1, 8, 8), torch.tensor([3]))


@pytest.mark.parametrize(
    "net", [ContextResNet(2, 8, 1, 3, 10), GroupedTransformer(pixel_groups(4, 4, 4), 2, 8, 1, 2, 3, 10)]
)
def test_labels_change_nothing_before_training(net):
    last = net.conv_out if isinstance(net, ContextResNet) else net.proj_out
    torch.nn.init.normal_(last.weight)  # zero at first, too, which would hide the labels
    x = torch.randn(1, 2, 4, 4).expand(10, 2, 4, 4)
    assert net(x).abs().max() > 0
    assert_close(net(x, torch.arange(10)), net(x))


def test_bits_of_couplings_add_up_to_those_of_the_flow():
    flow = unsettle(small_hierarchical()).eval()
    levels = torch.randint(0, N_LEVELS, (20, *flow.event_shape), dtype=torch.uint8)
    noise = evaluation_noise(torch.arange(20), flow.event_shape, draw=0, seed=0)
    x, log_q = UniformDequantizer()(levels, noise)
    with torch.no_grad():
        expected = bits_per_dim(flow.log_prob(x), log_q, flow.dims).mean().item()
    parts = bits(flow, levels)
    assert min(parts) > 0
    assert math.isclose(sum(parts), expected, rel_tol=1e-5)
