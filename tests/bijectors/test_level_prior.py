"""What a level prior believes is Bayes' rule, and what it tilts stays a distribution that sees no later pixel."""

import math

import pytest
import torch
from torch.testing import assert_close

from nf_mnist.bijectors.discretized_logistic import LevelMixture, n_parameters
from nf_mnist.bijectors.level_prior import ANY_PART, OUTSIDE, UNIT, Belief, LevelPrior
from nf_mnist.bijectors.logistic_table import LogisticTable
from nf_mnist.bijectors.mixture_coupling import mixture_forward, mixture_inverse
from nf_mnist.bijectors.pixel_grid import PixelGrid
from nf_mnist.bijectors.placed_prior import EARLY_STATES, EARLY_WINDOWS, ChannelPrior, known_image
from nf_mnist.bijectors.quantile_map import N_LEVELS, UNIFORM_SHARE
from nf_mnist.bijectors.tilted import TiltedMixture
from nf_mnist.data import to_levels
from tests.support.registry import grouped_mixture_with_prior, level_prior, mixture_coupling, unsettle

LEVELS = torch.arange(float(N_LEVELS))


def some_known(n: int = 5) -> torch.Tensor:
    """Return images of 8x8 of which about a third of the pixels have ink."""
    generator = torch.Generator().manual_seed(3)
    levels = torch.randint(1, 256, (n, 8, 8), generator=generator).float()
    return levels * (torch.rand(n, 8, 8, generator=generator) < 0.3)


def by_enumeration(prior: LevelPrior, known: torch.Tensor, stage: int) -> torch.Tensor:
    """Return the log-probability of each (top, left, state), up to a constant, of one image."""
    inked = known > 0
    first, last = ((inked.any(axis).nonzero().min(), inked.any(axis).nonzero().max()) for axis in (1, 0))
    scores = torch.zeros(3, 3, len(prior.log_state))
    for top in range(3):
        for left in range(3):
            window = prior.log_window[stage]
            scores[top, left] = (
                prior.log_state + window[first[0], first[1] + 1, top] + window[last[0], last[1] + 1, left]
            )
            for row, column in inked.nonzero().tolist():
                for state in range(len(prior.log_state)):
                    is_inside = 0 <= row - top < 6 and 0 <= column - left < 6
                    is_neutral = state == len(prior.log_state) - 1
                    if is_inside:
                        table = prior.table_of[state, row - top, column - left]
                        ratio = prior.ratios[table, int(known[row, column]) - 1].log() / UNIT
                    else:
                        ratio = 0 if is_neutral else OUTSIDE
                    scores[top, left, state] += ratio
    return UNIT * scores


def dense(belief: Belief, image: int, n_states: int) -> torch.Tensor:
    found = torch.zeros(3, 3, n_states)
    found[belief.top[image], belief.left[image], belief.state[image]] = belief.weight[image]
    return found


def test_belief_is_the_posterior_over_states_and_windows():
    prior, known = level_prior(), some_known()
    belief = prior.believe(known, stage=1, n_states=45)
    for image in range(len(known)):
        expected = by_enumeration(prior, known[image], 1).flatten().softmax(0).reshape(3, 3, -1)
        assert_close(dense(belief, image, len(prior.log_state)), expected, rtol=1e-4, atol=1e-6)


def test_a_prediction_is_the_mean_of_the_states_tables():
    prior, known = level_prior(), some_known()
    belief = prior.believe(known, stage=0, n_states=40)
    image, row, column = torch.tensor([0, 3, 3]), torch.tensor([0, 4, 7]), torch.tensor([1, 2, 5])
    found = prior.log_ratio(belief, image, row, column).exp()
    for pixel in range(3):
        expected = torch.zeros(255)
        weight, state, top, left = (part[image[pixel]] for part in belief)
        for k in range(len(weight)):
            cell = row[pixel] - top[k], column[pixel] - left[k]
            inside = all(0 <= place < 6 for place in cell)
            expected += weight[k] * (prior.ratios[prior.table_of[state[k], cell[0], cell[1]]] if inside else 1)
        assert_close(found[pixel], expected, rtol=1e-5, atol=1e-7)


def test_an_image_is_believed_the_same_alone_and_among_others():
    prior, known = level_prior(), some_known(30)
    together = prior.believe(known, stage=2)
    for image in range(len(known)):
        alone = prior.believe(known[[image]], stage=2)
        assert all(torch.equal(one[0], other[image]) for one, other in zip(alone, together, strict=True))


def test_an_image_without_ink_is_believed_as_before_any_pixel():
    prior = level_prior()
    belief = prior.believe(torch.zeros(1, 8, 8), stage=0)
    assert torch.isfinite(belief.weight).all()
    assert belief.weight.sum().item() == pytest.approx(1)
    assert belief.state[0, 0] == 0, "the likeliest"


def test_what_fits_no_state_is_left_as_it_is():
    prior = level_prior()
    worst = int(prior.ratios[:-1].amax(0).argmin()) + 1
    assert prior.ratios[:-1, worst - 1].max() < 1
    known = torch.full((1, 8, 8), float(worst))
    belief = prior.believe(known, stage=0, n_states=40)
    ratio = prior.log_ratio(belief, torch.tensor([0]), torch.tensor([3]), torch.tensor([3]))
    assert ratio.abs().max() < 0.01


def test_known_channels_lie_where_their_grid_says():
    image = torch.arange(64.0).reshape(1, 1, 8, 8)
    grid = PixelGrid.whole().squeezed()
    channels = torch.nn.functional.pixel_unshuffle(image, 2)
    assert torch.equal(known_image(channels, grid), image[:, 0])
    assert known_image(channels[:, :1], grid).sum() == image[:, :, ::2, ::2].sum()


def tilted(dtype=torch.float64, n: int = 50) -> TiltedMixture:
    torch.manual_seed(2)
    mixture = LevelMixture.from_parameters(3 * torch.randn(1, n_parameters(3), 1, n, dtype=dtype))
    ratio = torch.randn(n, 255, dtype=dtype)
    return TiltedMixture(mixture, 2 * torch.rand(1, 1, n, dtype=dtype), lambda mask: ratio[mask[0, 0]])


def table(distribution: TiltedMixture | LevelMixture, like: torch.Tensor) -> torch.Tensor:
    """Return the probabilities of all levels, shape (256, pixels)."""
    return torch.stack([distribution.probability(torch.full_like(like, level))[0, 0] for level in LEVELS])


def test_a_tilted_mixture_is_the_product_of_its_definition():
    found = tilted()
    untilted = table(found.mixture, found.gamma)
    share = UNIFORM_SHARE / N_LEVELS
    product = (untilted[1:] - share) * (found.gamma[0, 0] * found.log_ratio(torch.ones_like(found.gamma) > 0).T).exp()
    inked = 1 - untilted[0] - 255 * share
    expected = torch.cat([untilted[:1], inked * product / product.sum(0) + share])
    assert_close(table(found, found.gamma), expected, rtol=1e-5, atol=1e-9)


def test_a_tilted_mixture_adds_up_to_one_and_its_edges_are_sums():
    found = tilted()
    probabilities = table(found, found.gamma)
    assert_close(probabilities.sum(0), torch.ones(50).double(), rtol=1e-12, atol=0)
    assert probabilities.min() >= UNIFORM_SHARE / N_LEVELS * (1 - 1e-9)
    edges = found.table(torch.ones_like(found.gamma) > 0)
    for k in (0, 1, 2, 100, 255, 256):
        below, above = edges.edges(torch.full_like(found.gamma, k))
        assert_close(below[0, 0], probabilities[:k].sum(0), rtol=1e-9, atol=1e-12)
        assert_close(above[0, 0], probabilities[k:].sum(0), rtol=1e-9, atol=1e-12)


def test_a_table_hardly_depends_on_the_pixels_computed_with_it():
    found = tilted(torch.float32, n=700)
    some = torch.rand_like(found.gamma) < 0.3
    whole, part = (found.table(mask).probabilities for mask in (torch.ones_like(some), some))
    assert_close(whole[some[0, 0]], part, rtol=1e-5, atol=0)


@torch.no_grad()
def test_every_level_survives_in_float32():
    found = tilted(torch.float32, n=2000)
    for level in (0, 1, 2, 127, 254, 255):
        x = torch.full_like(found.gamma, (level + 0.5) / 256)
        back, _ = mixture_inverse(found, mixture_forward(found, x)[0])
        assert torch.equal(to_levels(back), torch.full_like(x, level).to(torch.uint8))


def test_a_table_of_logistics_is_exact_and_differentiable():
    torch.manual_seed(0)
    weights, means, scales = (
        torch.randn(5, 3).double().softmax(1),
        torch.randn(5, 3).double(),
        torch.rand(5, 3).double(),
    )
    inputs = [part.requires_grad_() for part in (weights, means, (4 * scales).exp())]
    inputs = [part.detach().requires_grad_() for part in inputs]
    found = LogisticTable.apply(*inputs)
    mixture = LevelMixture(torch.zeros(5).double(), inputs[0].T, inputs[1].T, inputs[2].T)
    expected = torch.stack([mixture.probability(torch.full((5,), level.item()).double()) for level in LEVELS[1:]], 1)
    expected = (expected - UNIFORM_SHARE / N_LEVELS) / (1 - UNIFORM_SHARE)
    assert_close(found, expected, rtol=1e-9, atol=1e-15)
    assert torch.autograd.gradcheck(LogisticTable.apply, inputs, check_forward_ad=True)


def test_a_small_probability_is_precise_in_single_precision():
    inputs = torch.ones(1, 1), torch.tensor([[-1.0]]), torch.tensor([[20.0]])
    found, expected = LogisticTable.apply(*inputs), LogisticTable.apply(*(part.double() for part in inputs))
    assert expected[0, 250].item() < 1e-16
    assert_close(found.double(), expected, rtol=1e-4, atol=0)


def test_gradients_of_a_small_probability_are_precise_in_single_precision():
    single = [torch.full((1, 1), value, requires_grad=True) for value in (1.0, -1.1, 40.0)]
    double = [part.detach().double().requires_grad_() for part in single]
    for inputs in (single, double):
        LogisticTable.apply(*inputs)[0, 200].log().backward()
    assert_close([part.grad.double() for part in single], [part.grad for part in double], rtol=1e-3, atol=0)


def test_nothing_predicted_depends_on_what_is_transformed_or_comes_later():
    coupling = unsettle(mixture_coupling(2, level_prior())).double()
    x = torch.rand(3, 4, 4, 4, dtype=torch.float64)
    changed = x.clone()
    changed[:, 2:] = torch.rand_like(changed[:, 2:])
    one, other = (coupling.predict_mixture(value, None) for value in (x, changed))
    like = torch.ones_like(one.gamma)
    assert torch.equal(one.gamma, other.gamma)
    assert torch.equal(one.table(like > 0).probabilities, other.table(like > 0).probabilities)
    changed[:, 1] = torch.rand_like(changed[:, 1])
    seen = coupling.predict_mixture(changed, None)
    assert not torch.equal(one.log_ratio(like > 0), seen.log_ratio(like > 0)), "the prior looks at kept channels"


def test_gamma_is_one_to_begin_with_and_is_learned():
    coupling = mixture_coupling(2, level_prior()).double()
    torch.nn.init.zeros_(coupling.net.conv_out.bias)
    x = torch.rand(3, 4, 4, 4, dtype=torch.float64)
    assert torch.equal(coupling.predict_mixture(x, None).gamma, torch.ones(3, 4, 4).double())
    z, log_det = coupling(x)
    (log_det - 0.5 * z.square().flatten(1).sum(1)).sum().backward()
    gradient = coupling.net.conv_out.bias.grad[-1]
    assert gradient.isfinite()
    assert gradient.abs() > 0


def test_weights_without_a_prior_begin_with_the_prior_counting_in_full():
    before, after = unsettle(mixture_coupling(1)), mixture_coupling(1, level_prior())
    weights = dict(before.state_dict())
    after.adapt_weights(weights)
    after.load_state_dict(weights)
    x = torch.rand(2, 4, 4, 4)
    found = after.predict_mixture(x, None)
    assert torch.equal(found.gamma, torch.ones(2, 4, 4))
    plain = before.predict_mixture(x, None)
    assert torch.equal(found.mixture.atom, plain.atom)
    assert torch.equal(found.mixture.means, plain.means)


def test_log_det_is_the_log_probability_of_levels():
    coupling = unsettle(mixture_coupling(2, level_prior())).double()
    x = torch.rand(3, 4, 4, 4, dtype=torch.float64)
    level = (x[:, 2] * 256).floor()
    expected = coupling.predict_mixture(x, None).probability(level).log().flatten(1).sum(1)
    z, log_det = coupling(x)
    log_normal = -0.5 * (z[:, 2].square() + math.log(2 * math.pi)).flatten(1).sum(1)
    assert_close(log_normal + log_det - 16 * math.log(256), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("group", range(1, 5))
def test_a_group_is_predicted_from_all_earlier_groups_and_no_others(group):
    mixture = unsettle(grouped_mixture_with_prior()).double()
    is_earlier = mixture.groups < group
    x, other = torch.rand(2, 3, 1, 4, 4, dtype=torch.float64)
    members = (mixture.groups == group).expand(3, 4, 4)
    found = mixture.predict_mixture(x, None).table(members).probabilities
    with_other_rest = mixture.predict_mixture(torch.where(is_earlier, x, other), None)
    assert torch.equal(with_other_rest.table(members).probabilities, found)
    with_other_earlier = mixture.predict_mixture(torch.where(is_earlier, other, x), None)
    assert not torch.equal(with_other_earlier.log_ratio(members), mixture.predict_mixture(x, None).log_ratio(members))


def test_groups_are_believed_as_images_of_their_known_pixels():
    mixture = grouped_mixture_with_prior()
    levels = torch.randint(0, 256, (3, 1, 4, 4), generator=torch.Generator().manual_seed(4)).float()
    found = mixture.prior.log_ratio_given(levels)(torch.ones(3, 4, 4) > 0).reshape(3, 4, 4, 255)
    for image, row, column in ((0, 0, 0), (1, 3, 2), (2, 1, 1)):
        known = torch.zeros(1, 8, 8)
        known[0, ::2, ::2] = levels[image, 0] * (mixture.groups < mixture.groups[row, column])
        belief = mixture.prior.prior.believe(known, ANY_PART, EARLY_WINDOWS, EARLY_STATES)
        place = torch.tensor([0]), torch.tensor([2 * row]), torch.tensor([2 * column])
        assert torch.equal(found[image, row, column], mixture.prior.prior.log_ratio(belief, *place)[0])


@pytest.mark.parametrize("make", [lambda: mixture_coupling(2, level_prior()), grouped_mixture_with_prior])
def test_observed_pixels_sharpen_the_prior(make):
    prior = make().prior
    levels = torch.zeros(1, 2 if isinstance(prior, ChannelPrior) else 1, 4, 4)
    observed = torch.zeros(1, 8, 8)
    observed[0, 3:5, 3:5] = torch.tensor([[40.0, 200.0], [13.0, 90.0]])
    everywhere = torch.ones(1, 4, 4) > 0
    without, with_observed = prior.log_ratio_given(levels), prior.log_ratio_given(levels, observed)
    assert not torch.equal(without(everywhere), with_observed(everywhere))
    belief = prior.prior.believe(observed, ANY_PART, EARLY_WINDOWS, EARLY_STATES)
    if isinstance(prior, ChannelPrior):
        belief = prior.prior.believe(observed, ANY_PART)
    row, column = prior.grid.corners[getattr(prior, "channel", 0)]
    place = torch.tensor([0]), torch.tensor([row + 4]), torch.tensor([column + 2])
    assert torch.equal(with_observed(everywhere).reshape(4, 4, 255)[2, 1], prior.prior.log_ratio(belief, *place)[0])
