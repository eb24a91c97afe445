"""Images and weights that do not belong together are told from overfitting, rounding and divergence."""

import math

import pytest
import torch
from torch import nn

from nf_mnist.bijectors import Bijector, Flatten, Logit, Sequential
from nf_mnist.diagnostics import Batch, DiagnosisTask
from nf_mnist.diagnostics.checks.sameness import closest_change, difference
from nf_mnist.diagnostics.measures.changes import CURVES, HALVES, SCALES, TURNS, changed, shifts
from nf_mnist.flows import Flow
from tests.support.diagnosis_tasks import results

SAME, LIE = "images are like the training images", "images lie as those the flow learned"
FIT = "weights fit the code and the images"
SIDE, DIMS = 8, 64


def pictures(n: int = 200, seed: int = 0) -> torch.Tensor:
    """Return grey levels that grow from the top to the bottom and have a bright corner, shape (n, 1, 8, 8)."""
    generator = torch.Generator().manual_seed(seed)
    mean = torch.linspace(20, 120, SIDE)[:, None] + torch.linspace(0, 30, SIDE)
    mean[5:, 6:] = 230
    noise = 20 * torch.randn(n, 1, SIDE, SIDE, generator=generator)
    return (mean + noise).round().clamp(0, 255).to(torch.uint8)


def batch_of(levels: torch.Tensor, seed: int = 0) -> Batch:
    x = (levels + torch.rand(levels.shape, generator=torch.Generator().manual_seed(seed))) / 256
    return Batch(x, torch.full((len(x),), DIMS * math.log(256)), levels, None)


class Gaussian(Bijector):
    """The density of :func:`pictures` behind a logit, as if trained; a network makes its weights known as trained."""

    def __init__(self, alpha: float, levels: torch.Tensor) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.net = nn.Linear(DIMS, DIMS)
        self.net.weight.data = 0.01 * torch.randn(DIMS, DIMS, generator=generator) ** 3
        self.net.bias.data = torch.randn(DIMS, generator=generator)
        y = Sequential([Logit(alpha), Flatten((1, SIDE, SIDE))]).forward_and_log_det(batch_of(levels).x)[0]
        self.register_buffer("mean", y.mean(0))
        self.register_buffer("std", y.std(0))

    def forward_and_log_det(self, x, context=None):
        return (x - self.mean) / self.std, -self.std.log().sum().expand(len(x))

    def inverse_and_log_det(self, z, context=None):
        return z * self.std + self.mean, self.std.log().sum().expand(len(z))


def gaussian(alpha: float = 1e-5, levels: torch.Tensor | None = None) -> Flow:
    """Return the density of :func:`pictures`, fitted behind a logit with this margin and used behind one of 1e-5."""
    layer = Gaussian(alpha, pictures() if levels is None else levels)
    return Flow(Sequential([Logit(1e-5), Flatten((1, SIDE, SIDE)), layer]), (1, SIDE, SIDE)).eval()


WRONG = {  # how images are shown, and what is to be said
    "negatives": (lambda v: 255 - v, "black for white"),
    "mirrored": (lambda v: v.flip(-1), "mirrored"),
    "header": (lambda v: v.flatten(1).roll(-3, 1).reshape(v.shape), "displaced by 3 pixels along the rows"),
    "upper half": (lambda v: v // 2 + 128, "upper half"),
    "lower half": (lambda v: v // 2, "lower half"),
}


@pytest.mark.parametrize("case", WRONG)
def test_other_images_than_those_of_the_training_are_named_with_how_they_differ(case):
    change, words = WRONG[case]
    levels = change(pictures(seed=1))
    task = DiagnosisTask(gaussian(), batch_of(levels, 1), batch_of(pictures()))
    result = results(task, [SAME])[SAME]
    assert result.status == "fail", result
    assert result.is_shown
    assert words in result.cause


@pytest.mark.parametrize("case", WRONG)
def test_images_that_the_flow_has_learned_otherwise_are_named_without_training_images(case):
    change, words = WRONG[case]
    result = results(DiagnosisTask(gaussian(), batch_of(change(pictures(seed=1)), 1)), [LIE])[LIE]
    assert result.status == "fail", result
    assert words in result.cause


def test_images_like_those_of_the_training_are_no_other_ones():
    task = DiagnosisTask(gaussian(), batch_of(pictures(seed=1), 1), batch_of(pictures()))
    found = results(task, [SAME, LIE, FIT])
    assert {one.status for one in found.values()} == {"pass"}, found


def test_weights_trained_behind_another_margin_are_named():
    dark, others = ((pictures(seed=seed) > 200) * pictures(seed=seed) for seed in (0, 1))
    result = results(DiagnosisTask(gaussian(0.05, dark), batch_of(others, 1)), [LIE])[LIE]
    assert (result.status, "margin of 0.05" in result.cause) == ("fail", True)


def test_a_flow_that_has_hardly_learned_anything_is_not_said_to_have_learned_other_images():
    """Another scale makes images likelier, but not as likely as one Gaussian for all pixels does."""
    dark = (pictures() > 200) * pictures()
    flow = gaussian(1e-5, dark)
    layer = flow.bijector.bijectors[2]
    layer.mean.zero_()
    layer.std.fill_(1.38)
    result = results(DiagnosisTask(flow, batch_of(dark)), [LIE])[LIE]
    assert (result.status, "more bits than under the uniform" in result.measured) == ("skip", True), result


def test_the_difference_of_two_halves_of_a_set_is_chance_and_a_shift_is_undone():
    images, others = batch_of(pictures(2000)).x, batch_of(pictures(2000, 1), 1).x
    assert difference(images, others) < 0.1
    moved = others.roll((2, -3), (-2, -1))
    change, rest = closest_change(moved, images)
    assert "2 pixels vertically and 3 horizontally" in change.name
    assert rest == pytest.approx(difference(others, images), abs=0.05)
    assert not shifts(others, images.mean(0))


@pytest.mark.parametrize("change", [*TURNS, *HALVES, *CURVES, *SCALES], ids=lambda change: change.name)
def test_the_slope_of_a_change_is_that_of_its_images(change):
    """The change of dithered images within a level is affine with the slope that is said."""
    x = torch.tensor([0.2, 0.301]).expand(1, 1, 2, 2).contiguous()
    assert torch.equal((256 * (x + 1e-3)).floor(), (256 * x).floor())
    slope = (change.apply(x + 1e-3) - change.apply(x)).abs().mean() / 1e-3
    assert slope.item() == pytest.approx(math.exp(change.log_slope), rel=1e-2)
    batch = Batch(x, torch.zeros(1), (256 * x).to(torch.uint8), None)
    assert torch.equal(changed(batch, change).levels, batch.levels)
