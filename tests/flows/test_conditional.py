"""A flow conditioned on observed pixels keeps them at no cost in bits, and ignores the levels of hidden ones."""

import hashlib
import math

import pytest
import torch
from torch.testing import assert_close

from nf_mnist.bijectors import DiscretizedMixture, GroupedMixture
from nf_mnist.checkpoints.old_names import current_config
from nf_mnist.data import HALVES, random_observed, to_levels
from nf_mnist.errors import ConfigError, ShapeError
from nf_mnist.flows import Flow, conditional, hierarchical
from nf_mnist.flows.conditional_flow import ConditionalFlow, teacher_forced
from nf_mnist.inpainting import amortized, crank_nicolson, make_observed
from nf_mnist.inpainting.methods.crank_nicolson import CrankNicolsonChains
from tests.support.registry import make_flow, unsettle


def context_of(levels: torch.Tensor, observed: torch.Tensor) -> torch.Tensor:
    return torch.cat([levels, observed.expand_as(levels)], 1).double()


@pytest.fixture
def flow():
    return make_flow("conditional")


@pytest.fixture
def levels():
    return torch.randint(256, (6, 1, 8, 8))


@pytest.mark.parametrize("name", ["lower", "left", "rows", "random_50", "centre"])
def test_observed_pixels_are_drawn_as_they_are_and_the_inverse_undoes(name, flow, levels):
    observed = make_observed(name, (1, 8, 8))
    context = context_of(levels, observed)
    drawn = flow.decode(torch.randn(6, 64, dtype=torch.float64), context)
    kept = observed.expand_as(levels)
    assert torch.equal(to_levels(drawn)[kept], levels[kept].to(torch.uint8))
    assert (to_levels(drawn)[~kept] != levels[~kept]).any()
    assert_close(flow.decode(flow.encode(drawn, context), context), drawn, atol=1e-9, rtol=0)


def test_observed_pixels_cost_nothing(flow, levels):
    x = (levels + 0.5) / 256
    everything = torch.ones(1, 8, 8, dtype=torch.bool)
    assert_close(flow.log_prob(x, context_of(levels, everything)), torch.full((6,), 64 * math.log(256)).double())
    half = make_observed("lower", (1, 8, 8))
    assert (flow.log_prob(x, context_of(levels, half)) > flow.log_prob(x) + 50).all()


def test_another_level_than_the_observed_is_impossible(flow, levels):
    observed = make_observed("lower", (1, 8, 8))
    context = context_of(levels, observed)
    levels[0, 0, 0, 0] = (levels[0, 0, 0, 0] + 1) % 256
    log_prob = flow.log_prob((levels + 0.5) / 256, context)
    assert log_prob[0] == -torch.inf
    assert log_prob[1:].isfinite().all()


def test_levels_of_hidden_pixels_are_not_looked_at(flow, levels):
    observed = make_observed("random_50", (1, 8, 8))
    other = torch.where(observed, levels, torch.randint(256, levels.shape))
    x = (levels + 0.5) / 256
    expected = flow.log_prob(x, context_of(levels, observed))
    assert torch.equal(expected, flow.log_prob(x, context_of(other, observed)))
    unknown = context_of(levels, observed)
    unknown[:, :1][~observed.expand(len(x), -1, -1, -1)] = torch.nan
    assert torch.equal(expected, flow.log_prob(x, unknown))


def test_what_is_observed_changes_what_is_predicted_for_hidden_pixels(flow, levels):
    observed = make_observed("lower", (1, 8, 8))
    z = flow.encode((levels + 0.5) / 256, context_of(levels, observed))
    other = levels.clone()
    other[:, :, :4] = torch.randint(256, (6, 1, 4, 8))
    moved = flow.encode((other + 0.5) / 256, context_of(other, observed)) != z
    assert 0.45 < moved.double().mean() <= 0.5, (
        "only latents of the hidden half move; those of observed pixels hold only the dither"
    )


def test_each_pixel_of_the_coarsest_image_is_predicted_from_all_that_is_observed(flow, levels):
    (coarsest,) = (part for part in flow.modules() if isinstance(part, GroupedMixture))
    context = context_of(levels[:1], torch.ones(1, 8, 8, dtype=torch.bool)).requires_grad_()
    mixture = coarsest.predict_mixture(torch.full((1, 1, 2, 2), 0.5, dtype=torch.float64), context)
    for pixel in range(4):
        (gradient,) = torch.autograd.grad(mixture.means[..., pixel // 2, pixel % 2].sum(), context, retain_graph=True)
        assert gradient[:, 0].all(), "a pixel of the first group attends to no other, yet must know what is observed"


def test_without_context_nothing_is_observed(flow, levels):
    x = (levels + 0.5) / 256
    nothing = torch.zeros(6, 2, 8, 8, dtype=torch.float64)
    assert torch.equal(flow.log_prob(x), flow.log_prob(x, nothing))
    assert flow.context(torch.arange(6)) is None


def test_probabilities_of_a_hidden_pixel_sum_to_one():
    sizes = {"n_scales": 1, "channels": 4, "n_blocks": 1, "n_components": 2, "n_references": 2, "n_frequent": 1}
    last = {"n_groups": 1, "transformer_features": 8, "transformer_blocks": 1, "transformer_heads": 1}
    flow = unsettle(conditional(event_shape=(1, 2, 2), **sizes, **last)).double()
    for pixel in range(4):
        levels = torch.randint(256, (1, 4)).repeat(256, 1)
        levels[:, pixel] = torch.arange(256)
        levels = levels.reshape(256, 1, 2, 2)
        observed = (torch.arange(4) != pixel).reshape(1, 2, 2)
        with torch.no_grad():
            log_p = flow.log_prob((levels.double() + 0.5) / 256, context_of(levels, observed)) - 4 * math.log(256)
        # The other three pixels are observed and certain, so this is the conditional probability of the hidden one.
        assert log_p.exp().sum().item() == pytest.approx(1, abs=1e-9)


def test_random_masks_are_of_every_kind():
    observed = random_observed(torch.zeros(3000, 1, 28, 28, dtype=torch.uint8))
    assert observed.dtype == torch.bool
    shares = observed.double().mean((1, 2, 3))
    assert (shares == 0).double().mean() > 0.05, "nothing observed"
    assert (shares < 0.25).double().mean() > 0.2
    assert (shares > 0.75).double().mean() > 0.05
    for name, share in {"lower": 1 / 16, "upper": 1 / 16, "left": 1 / 16, "right": 1 / 16, "rows": 1 / 100}.items():
        is_half = (observed == make_observed(name, (1, 28, 28))).flatten(1).all(1)
        assert is_half.double().mean() > 0.75 * share, name


@pytest.mark.parametrize(("sides", "digest"), [((28, 28), "9dde515caba77aaa"), ((9, 14), "5852cca5e8713761")])
def test_random_masks_are_those_that_released_weights_were_trained_on(sides, digest):
    torch.manual_seed(0)
    observed = random_observed(torch.zeros(500, 1, *sides, dtype=torch.uint8))
    assert hashlib.sha256(observed.numpy().tobytes()).hexdigest()[:16] == digest


@pytest.mark.parametrize("half", HALVES)
def test_a_specialist_is_trained_and_validated_on_its_half(half, flow, levels):
    specialist = ConditionalFlow(flow.bijector, flow.event_shape, training_mask=half)
    for context in (specialist.training_context, specialist.validation_context):
        given, observed = context(levels, torch.zeros(6)).chunk(2, 1)
        assert torch.equal(given, levels.to(given))
        assert torch.equal(observed > 0, make_observed(half, (1, 8, 8)).expand(6, 1, 8, 8))


def test_what_is_trained_on_random_parts_is_validated_on_whole_images(flow, levels):
    assert flow.training_mask == ("random",)
    assert flow.validation_context(levels, torch.zeros(6)) is None
    assert len({tuple(observed.flatten().tolist()) for observed in flow.training_context(levels, levels)[:, 1]}) > 1


def test_of_several_masks_each_hides_its_share_of_the_images(flow):
    both = ConditionalFlow(flow.bijector, flow.event_shape, training_mask=["lower", "left", "right"])
    levels = torch.randint(256, (3000, 1, 8, 8))
    observed = both.training_context(levels, torch.zeros(3000))[:, 1:] > 0
    for name in ("lower", "right", "left"):
        is_half = (observed == make_observed(name, (1, 8, 8))).flatten(1).all(1)
        assert is_half.double().mean().item() == pytest.approx(1 / 3, abs=4 * (2 / 9 / 3000) ** 0.5), name
    assert both.validation_context(levels, levels) is None, "whole images are scored"


@pytest.mark.parametrize(
    ("observed", "hidden"),
    [("upper", "lower"), ("left", "right"), ("random", "random"), (["random", "lower"], ["random", "upper"])],
)
def test_older_configurations_name_the_half_that_is_observed(observed, hidden):
    old = {"model": {"flow": {"trained_on": observed, "mask": "upper"}}, "name": "upper"}
    assert current_config(old) == {"model": {"flow": {"training_mask": hidden, "mask": "upper"}}, "name": "upper"}


@pytest.mark.parametrize(
    ("masks", "got"),
    [("middle", "middle"), (["random", "middle"], "random, middle"), ([], ""), (None, "None"), ([3], "3")],
)
def test_there_is_no_specialist_of_other_masks(masks, got, flow):
    with pytest.raises(ConfigError, match=f"training_mask must be of random, upper, lower, left, right, got '{got}'"):
        ConditionalFlow(flow.bijector, flow.event_shape, training_mask=masks)


def test_amortized_completions_keep_what_is_observed_and_differ_from_each_other():
    flow = make_flow("conditional", torch.float32)
    x, observed = (torch.randint(256, (3, 1, 8, 8)) + 0.3) / 256, make_observed("upper", (1, 8, 8))
    found = amortized(flow, x, observed, n_samples=4, generator=torch.Generator().manual_seed(0))
    kept = observed.expand(4, 3, 1, 8, 8)
    assert torch.equal(found.x[kept], x.expand(4, 3, 1, 8, 8)[kept])
    assert found.x[..., ~observed].std(0).min() > 0
    assert found.log_prob.isfinite().all()
    assert found.n_gradients == 0


@pytest.fixture
def tiny() -> Flow:
    """Return an unconditional hierarchy of 2x2 images, whose pixels depend on each other."""
    sizes = {"n_scales": 1, "channels": 8, "n_blocks": 1, "n_components": 2, "n_references": 4, "n_frequent": 1}
    last = {"n_groups": 1, "transformer_features": 8, "transformer_blocks": 1, "transformer_heads": 1, "n_classes": 0}
    flow = unsettle(hierarchical(event_shape=(1, 2, 2), **sizes, **last)).double()
    with torch.no_grad():  # what is predicted depends strongly on what is known
        for coupling in (part for part in flow.modules() if isinstance(part, DiscretizedMixture)):
            coupling.net.conv_out.weight.mul_(10)
    return flow.eval()


GIVEN = torch.tensor([0, 150, 170, 140]).reshape(1, 1, 2, 2)
FIRST_HIDDEN = torch.tensor([False, True, True, True]).reshape(1, 2, 2)


def exact_posterior(flow: Flow) -> torch.Tensor:
    """Return the probabilities of the first pixel's levels given the others, which come after it."""
    levels = GIVEN.repeat(256, 1, 1, 1)
    levels[:, 0, 0, 0] = torch.arange(256)
    with torch.no_grad():
        return flow.log_prob((levels.double() + 0.5) / 256).softmax(0)


def drawn_levels(flow: Flow) -> torch.Tensor:
    x = (GIVEN.repeat(600, 1, 1, 1).double() + 0.5) / 256
    settings = {"n_samples": 1, "n_chains": 1, "n_warmup": 0, "thinning": 250, "step": 0.8}
    found = crank_nicolson(flow, x, FIRST_HIDDEN, generator=torch.Generator().manual_seed(0), **settings)
    assert 0.05 < found.report["acceptance"] < 0.98
    assert torch.equal(found.x[0][..., FIRST_HIDDEN], x[..., FIRST_HIDDEN])
    return to_levels(found.x)[0, :, 0, 0, 0].double()


def distance(levels: torch.Tensor, exact: torch.Tensor) -> float:
    """Return the largest difference of distribution functions, in standard errors (Kolmogorov and Smirnov)."""
    found = levels.long().bincount(minlength=256).cumsum(0) / len(levels)
    return (found - exact.cumsum(0)).abs().max().item() * len(levels) ** 0.5


def test_crank_nicolson_draws_from_the_posterior(tiny):
    assert distance(drawn_levels(tiny), exact_posterior(tiny)) < 1.95, "0.1% of fair samples are further"


@pytest.mark.slow
def test_without_the_metropolis_test_draws_are_from_another_distribution(tiny, monkeypatch):
    monkeypatch.setattr(CrankNicolsonChains, "_chance", lambda self, change: torch.full_like(change, 0.97))
    assert distance(drawn_levels(tiny), exact_posterior(tiny)) > 4


def test_teacher_forcing_leaves_conditionals_as_they_are(tiny):
    x = (torch.randint(256, (5, 1, 2, 2)).double() + 0.5) / 256
    model = teacher_forced(tiny)
    nothing, everything = (torch.full((5, 2, 2, 2), value, dtype=torch.float64) for value in (0.0, 1.0))
    everything[:, :1] = (256 * x).floor()
    assert_close(model.log_prob(x, nothing), tiny.log_prob(x))
    assert_close(model.log_prob(x, everything), torch.full((5,), 4 * math.log(256)).double())
    with pytest.raises(ConfigError, match="unconditional flow only"):
        teacher_forced(model)
    with pytest.raises(ConfigError, match="model=hierarchical only"):
        teacher_forced(make_flow("resflow"))


def test_contexts_and_flows_that_do_not_suit_are_refused(flow, levels):
    with pytest.raises(ShapeError, match=r"conditioned on observed images, \(batch, 2, 8, 8\)"):
        flow.log_prob((levels + 0.5) / 256, torch.zeros(6, 1, 8, 8))
    with pytest.raises(ConfigError, match="train model=conditional"):
        amortized(
            make_flow("hierarchical", torch.float32),
            torch.rand(2, 1, 8, 8),
            make_observed("lower", (1, 8, 8)),
            n_samples=1,
            generator=torch.Generator(),
        )
