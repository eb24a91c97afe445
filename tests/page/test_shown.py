"""What the tabs show is what the library computes."""

import math
import re
from itertools import pairwise

import pytest
import torch

from nf_mnist.data import Images, UniformDequantizer
from nf_mnist.errors import ConfigError, ShapeError
from nf_mnist.inpainting import HIDDEN, amortized, make_observed, mode
from nf_mnist.metrics import draw_levels, evaluate_flow, nearest_distance
from nf_mnist.page import bits, completions, latents, samples
from nf_mnist.page.drawings import Drawing, whole
from nf_mnist.page.fragments import Mark, chart, figures, grey
from tests.page.conftest import subject_of
from tests.support.registry import make_flow, small_flow_matching, small_nice, small_tarflow

SHAPE = (1, 8, 8)


def lower(subject) -> Drawing:
    return completions.hide(whole(subject.test_image(0)), "lower", 0)


def completed(flow, name, method, drawing, n, seed=0):
    return list(completions.complete(flow, name, method, drawing, n, seed))


def test_completions_are_those_of_one_call_of_the_method(subject):
    given = lower(subject)
    arrived = completed(subject.flow, "amortized", amortized, given, 5, seed=3)
    assert [len(some) for some in arrived] == [1, 2, 4, 5]
    x = (given.levels[None] + 0.5) / 256
    generator = torch.Generator().manual_seed(3)
    expected = amortized(subject.flow, x, make_observed("lower", SHAPE), n_samples=5, generator=generator).x[:, 0]
    torch.testing.assert_close(arrived[-1], expected)
    for earlier in arrived:
        assert torch.equal(earlier, arrived[-1][: len(earlier)])


def test_other_methods_make_one_completion_after_another():
    flow = make_flow("resflow", torch.float32)
    subject = subject_of(flow)
    settings = {"n_steps": 2, "step": 0.3, "latent_weight": 0.1}
    arrived = completed(flow, "mode", lambda *given, **more: mode(*given, **more, **settings), lower(subject), 3)
    assert [len(some) for some in arrived] == [1, 2, 3]
    observed = make_observed("lower", SHAPE)
    assert torch.equal(arrived[-1][:, observed], arrived[-1][:1, observed].expand(3, -1))


def test_mean_and_uncertainty_are_those_of_the_completions(subject):
    given = lower(subject)
    x = torch.rand(4, *SHAPE)
    summary, each = completions.completion_figures(given, x, 9)
    hidden = x[:, given.hidden]
    assert "4 of 9 completions" in summary
    assert f"{hidden.std(0).mean().item():.4f}" in summary
    assert each.count("<img") == 4
    assert "standard deviation" not in completions.completion_figures(given, x[:1], 9)[0]


@pytest.mark.parametrize(
    ("name", "methods"),
    [
        ("conditional", ["amortized"]),
        ("resflow", ["mode", "posterior"]),
        ("hierarchical", ["crank_nicolson"]),
        ("flow_matching", ["replacement"]),
        ("ffjord", ["mode", "posterior"]),
        ("resflow_gaussianize", []),
    ],
)
def test_a_flow_is_completed_by_methods_that_suit_it(name, methods):
    assert completions.allowed_methods(make_flow(name)) == methods


def test_a_flow_with_labels_is_completed_only_if_it_has_learned_images_without_them():
    assert completions.allowed_methods(completions.completing(small_nice(n_classes=3))) == []
    flow = completions.completing(small_flow_matching(n_classes=3))
    assert completions.allowed_methods(flow) == ["replacement"]
    without = small_flow_matching()
    assert completions.completing(without) is without


@pytest.mark.parametrize("part", HIDDEN)
def test_a_hidden_part_is_that_of_the_command(part, subject):
    found = completions.hide(whole(subject.test_image(1)), part, 2)
    assert torch.equal(found.hidden, ~make_observed(part, SHAPE, 2))
    assert torch.equal(found.levels, subject.test.levels[1])


def test_what_cannot_be_completed_is_refused(subject):
    image = whole(subject.test_image(0))
    with pytest.raises(ShapeError, match="hides nothing"):
        completed(subject.flow, "amortized", amortized, image, 2)
    with pytest.raises(ShapeError, match="hides everything"):
        completed(subject.flow, "amortized", amortized, image._replace(hidden=~image.hidden), 2)
    with pytest.raises(ConfigError, match="completions must be from 1 to 64"):
        completed(subject.flow, "amortized", amortized, lower(subject), 65)
    with pytest.raises(ConfigError, match="no part 'middle'"):
        completions.hide(image, "middle", 0)
    for number in (None, 0.5, -1, 6):
        with pytest.raises(ConfigError, match=r"test.image"):
            subject.test_image(number)


def test_samples_are_those_of_the_library(subject):
    expected = draw_levels(subject.flow, 3, 0.7, batch_size=3, seed=4).levels
    assert torch.equal(samples.draw(subject, 3, 0.7, 4, None, 0.0), expected)
    with pytest.raises(ConfigError, match="guidance"):
        samples.draw(subject, 3, 0.7, 4, None, 1.0)


def test_flows_that_can_be_guided_are_known(subject):
    assert samples.can_be_guided(small_tarflow(n_classes=3))
    assert not samples.can_be_guided(subject.flow)


def test_the_nearest_training_image_is_at_the_smallest_distance(subject):
    levels = subject.test.levels[2]
    number, distance = samples.nearest_training_image(subject, levels)
    train = subject.train.levels.flatten(1) / 255
    assert distance == pytest.approx(nearest_distance(levels.flatten()[None] / 255, train).item(), rel=1e-5)
    assert samples.nearest_training_image(subject, subject.train.levels[7]) == (7, 0.0)
    assert number < 40


def test_bits_are_those_of_the_evaluation(subject):
    measured = bits.log_likelihoods(subject, subject.test.levels, 2)
    settings = {"n_images": None, "n_draws": 2, "batch_size": 6, "seed": 0}
    expected = evaluate_flow(subject.flow, UniformDequantizer(), subject.test, **settings).per_image
    torch.testing.assert_close(measured, expected["log_likelihood"])
    reference = bits.Reference(expected["log_likelihood"], expected["log_likelihood"].mean().item())
    shown, histogram = bits.bits_figures(subject, subject.test.levels[0], reference)
    found = bits.log_likelihoods(subject, subject.test.levels[:1], bits.N_DRAWS).item()
    assert f"{-found / (64 * math.log(2)):.3f} bits per dimension" in shown
    assert f"{-found / (64 * math.log(2)):.3f} bits per dimension" in histogram


def test_with_labels_the_likelihood_is_the_mean_over_the_classes():
    subject = subject_of(small_nice(n_classes=3).eval(), n_classes=3)
    levels = subject.test.levels
    under = []
    for label in range(3):
        images = Images(levels, torch.full((len(levels),), label))
        settings = {"n_images": None, "n_draws": 1, "batch_size": 6, "seed": 0}
        under.append(evaluate_flow(subject.flow, UniformDequantizer(), images, **settings).per_image["log_likelihood"])
    expected = torch.stack(under).logsumexp(0) - math.log(3)
    torch.testing.assert_close(bits.log_likelihoods(subject, levels, 1), expected)


def test_typical_images_are_told_from_others():
    reference = bits.Reference(torch.arange(-100.0, 101.0, 2), 0.0)
    assert bits.share_as_far(0.0, reference) == 1
    assert bits.share_as_far(-99.0, reference) == pytest.approx(2 / 101)
    assert bits.typicality(50.0, reference).startswith("Typical: it is likelier")
    assert bits.typicality(-99.0, reference).startswith("Unusual: it is less likely")
    assert bits.typicality(1000.0, reference).startswith("Unlike the training data")


def test_a_great_circle_keeps_the_norm_and_turns_at_a_constant_rate(float64):
    start, end = torch.randn(1, 50), torch.randn(1, 50)
    end *= start.norm() / end.norm()
    path = latents.great_circle(start, end, 5)
    torch.testing.assert_close(path.norm(dim=1), start.norm().expand(5))
    angles = torch.stack([torch.acos((a @ b / start.norm() ** 2).clamp(-1, 1)) for a, b in pairwise(path)])
    torch.testing.assert_close(angles, angles[:1].expand(4))
    torch.testing.assert_close(path[[0, -1]], torch.cat([start, end]))
    torch.testing.assert_close(latents.great_circle(start, start, 3), start.expand(3, -1))


def test_a_straight_line_has_the_mean_in_its_middle():
    start, end = torch.randn(1, 50), torch.randn(1, 50)
    torch.testing.assert_close(latents.straight_line(start, end, 3), torch.cat([start, (start + end) / 2, end]))


def test_paths_begin_and_end_at_the_images(subject):
    line, circle = latents.path_figures(subject, 0, 1)
    for number in (0, 1):
        image = grey((subject.test.levels[number] + 0.5) / 256)
        shown = re.findall(r"base64,([^\"]+)", figures("", {"x": image}))[0]
        assert shown in line
        assert shown in circle


def test_a_moved_latent_is_decoded_and_its_norm_is_told(subject):
    z, context = latents.latent_of(subject, 2)
    assert context is None
    noise = subject.flow.base.sample(1, torch.Generator().manual_seed(7))
    moved = latents.move(subject, 2, 0.5, 1.5, 7)
    assert moved.norm == pytest.approx((1.5 * (z + 0.5 * noise)).norm().item(), rel=1e-6)
    torch.testing.assert_close(moved.x[None], subject.flow.decode(1.5 * (z + 0.5 * noise)))
    shown, curve = latents.moved_figures(subject, 2, 0.5, 1.5, 7)
    assert f"{moved.norm:.2f}" in shown
    assert f"|z| = {moved.norm:.2f}" in curve
    with pytest.raises(ConfigError, match="noise must be from 0 to 2"):
        latents.move(subject, 2, -1.0, 1.0, 0)


def test_everything_in_a_fragment_is_escaped():
    assert "<b>" not in figures("<b>", {"<b>": b""}, ["<b>"])
    x = torch.linspace(0, 1, 5)
    assert "<i>" not in chart("<i>", x, x, [Mark(0.5, "<i>")], "<i>")
