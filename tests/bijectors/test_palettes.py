"""Palettes are fitted by expectation maximization, tell levels by Bayes' rule, and are kept with the weights."""

import re

import pytest
import torch
from torch.testing import assert_close

from nf_mnist.bijectors.level_prior import ANY_PART, LevelPrior
from nf_mnist.bijectors.palettes import PalettePrior, fitted_mixture, histograms, shares
from nf_mnist.checkpoints.reading import load_weights
from nf_mnist.errors import CheckpointError
from nf_mnist.flows import hierarchical
from tests.support.registry import mixture_coupling, palette_prior, unsettle

PALETTES = torch.tensor([[0.7, 0.2, 0.1, 0.0], [0.0, 0.1, 0.2, 0.7]])
WEIGHTS = torch.tensor([0.25, 0.75])


def drawn(n: int = 400, n_pixels: int = 200) -> tuple[torch.Tensor, torch.Tensor]:
    """Return histograms of images that were drawn from the two palettes, shape (n, 4), and the palette of each."""
    generator = torch.Generator().manual_seed(0)
    palette = (torch.rand(n, generator=generator) > WEIGHTS[0]).long()
    level = torch.multinomial(PALETTES[palette], n_pixels, replacement=True, generator=generator)
    return torch.stack([(level == k).sum(1) for k in range(4)], 1).float(), palette


def log_likelihood(counts: torch.Tensor, palettes: torch.Tensor, weights: torch.Tensor) -> float:
    return (counts @ palettes.log().T + weights.log()).logsumexp(1).sum().item()


def test_the_palettes_that_images_were_drawn_from_are_found():
    counts, palette = drawn()
    found, weights = fitted_mixture(counts, 2, shares(counts.sum(0)))
    order = found[:, 0].argsort(descending=True)
    assert_close(found[order], PALETTES, rtol=0, atol=0.01)
    assert_close(weights[order], torch.bincount(palette) / len(palette), rtol=0, atol=0.01)


def test_more_palettes_explain_images_better():
    counts, _ = drawn()
    found = [log_likelihood(counts, *fitted_mixture(counts, n, shares(counts.sum(0)))) for n in (1, 2)]
    assert found[1] > found[0] + 1000


def test_histograms_count_the_levels_above_black():
    levels = torch.tensor([[[[0, 1], [255, 1]]], [[[7, 0], [0, 0]]]], dtype=torch.uint8)
    found = histograms(levels)
    assert found.shape == (2, 255)
    assert found.nonzero().tolist() == [[0, 0], [0, 254], [1, 6]]
    assert found[0, 0] == 2


def test_belief_in_palettes_is_bayes_rule():
    prior = palette_prior()
    known = torch.zeros(2, 8, 8)
    known[0, 2, 3], known[0, 7, 0], known[1, 4, 4] = 20.0, 30.0, 250.0
    belief = prior.believe(known, ANY_PART, n_states=9)
    for image in range(2):
        at = known[image][known[image] > 0].long() - 1
        likelihood = prior.ratios[: len(prior.log_state), at].log().sum(1) + prior.log_state / 8
        found = torch.zeros_like(likelihood).scatter_(0, belief.state[image], belief.weight[image])
        assert_close(found, likelihood.softmax(0), rtol=1e-4, atol=1e-6)
    assert belief.weight[0, 0] > belief.weight[0, -1]


def test_before_a_fit_palettes_say_nothing():
    prior = PalettePrior(3, (8, 8))
    belief = prior.believe(torch.full((1, 8, 8), 9.0), ANY_PART)
    at = torch.tensor([0])
    assert prior.log_ratio(belief, at, at, at).abs().max() < 1e-6


def test_fitted_palettes_are_distributions():
    prior = palette_prior()
    average = shares(histograms(some_levels()).sum(0))
    assert_close(prior.ratios[:-1] @ average, torch.ones(4), rtol=0, atol=0.04)  # rounded to 1/8 nat
    assert_close((prior.log_palette / 8).exp().sum().item(), 1.0, rtol=0, atol=0.1)


def some_levels() -> torch.Tensor:
    """Return the images that the palettes of the registry are fitted to."""
    return torch.randint(256, (50, 1, 8, 8), generator=torch.Generator().manual_seed(6)).to(torch.uint8)


def predicted(prior: LevelPrior) -> torch.Tensor:
    belief, at = prior.believe(some_levels()[:3, 0].float(), ANY_PART), torch.arange(3)
    return prior.log_ratio(belief, at, at, at)


def test_palettes_are_read_back_with_the_weights():
    prior, other = palette_prior(), PalettePrior(4, (8, 8))
    assert not torch.equal(predicted(prior), predicted(other))
    other.load_state_dict(prior.state_dict())
    assert torch.equal(predicted(prior), predicted(other))


def test_weights_with_another_number_of_palettes_are_refused_in_one_line():
    mine, theirs = (mixture_coupling(2, PalettePrior(n, (8, 8))) for n in (4, 5))
    text = "palettes is of shape (4, 255) in this model and of shape (5, 255) in the checkpoint"
    with pytest.raises(CheckpointError, match=re.escape(text)) as refusal:
        load_weights(mine, {"state_dict": theirs.state_dict()}, "other.ckpt", prefix="")
    assert "\n" not in str(refusal.value)


def test_weights_without_a_prior_keep_the_palettes_that_were_fitted():
    before, after = unsettle(mixture_coupling(2)), mixture_coupling(2, palette_prior())
    load_weights(after, {"state_dict": before.state_dict()}, "before.ckpt", prefix="")
    x = torch.rand(2, 4, 4, 4)
    assert torch.equal(after.predict_mixture(x, None).mixture.means, before.predict_mixture(x, None).means)
    assert torch.equal(predicted(after.prior.prior), predicted(palette_prior()))


@pytest.mark.parametrize("n_scales", [0, 1, 2])
def test_one_coupling_fits_the_palettes_that_all_share_also_without_finer_scales(n_scales, monkeypatch):
    fits = []
    monkeypatch.setattr(PalettePrior, "fit", lambda prior, levels: fits.append(prior))
    sizes = {"channels": 4, "n_blocks": 1, "n_components": 2, "n_references": 0, "n_frequent": 0, "n_groups": 2}
    sizes |= {"transformer_features": 8, "transformer_blocks": 1, "transformer_heads": 2}
    flow = hierarchical(event_shape=(1, 8, 8), n_classes=0, level_prior="palettes", n_scales=n_scales, **sizes)
    flow.bijector.fit(some_levels())
    assert len(fits) == 1
    priors = {id(module) for module in flow.modules() if isinstance(module, PalettePrior)}
    assert priors == {id(fits[0])}
