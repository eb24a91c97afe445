"""Samples with pixels at 0 or 1 are said to be lost, and say nothing of the inverse."""

import math

import torch
from torch import nn

from nf_mnist.bijectors import Bijector, Flatten, Logit, Sequential
from nf_mnist.diagnostics import DiagnosisTask
from nf_mnist.diagnostics.measures.prior import read_prior
from nf_mnist.diagnostics.measures.saturation import saturated
from nf_mnist.flows import Flow
from tests.support.diagnosis_tasks import results
from tests.support.strangers import SIDE, Coupling, images

NAMES = ["samples are finite", "samples keep off 0 and 1", "samples come back in float32"]
SHAPE = (1, SIDE, SIDE)


class PlainLogit(Bijector):
    """A logit without a margin, which is infinite at 0 and 1."""

    def forward_and_log_det(self, x, context=None):
        return x.logit(), -(x.log() + (-x).log1p()).flatten(1).sum(1)

    def inverse_and_log_det(self, z, context=None):
        x = z.sigmoid()
        return x, -self.forward_and_log_det(x)[1]


def statuses(deviation: float, *layers: Bijector) -> list[str]:
    """Return the outcomes for a flow whose prior has a deviation; coupled latents are larger still."""
    logit, coupling = layers or (PlainLogit(), Coupling())
    flow = Flow(Sequential([logit, Flatten(SHAPE), coupling]), SHAPE).eval()
    flow.base = Wide(deviation)
    found = results(DiagnosisTask(flow, images()), NAMES)
    return [found[name].status for name in NAMES]


class Shear(Bijector):
    """z_0 = x_0 / 100, and z_i = x_i - 100 x_0: an error of the first pixel grows in all others."""

    def forward_and_log_det(self, x, context=None):
        return torch.cat([x[:, :1] / 100, x[:, 1:] - 100 * x[:, :1]], 1), x.new_full((len(x),), -math.log(100))

    def inverse_and_log_det(self, z, context=None):
        first = 100 * z[:, :1]
        return torch.cat([first, z[:, 1:] + 100 * first], 1), z.new_full((len(z),), math.log(100))


class Wide(nn.Module):
    """A normal base of another deviation."""

    def __init__(self, deviation):
        super().__init__()
        self.deviation = deviation

    def log_prob(self, z):
        return torch.distributions.Normal(0.0, self.deviation).log_prob(z).sum(1)

    def sample(self, n, generator=None):
        return self.deviation * torch.randn(n, SIDE * SIDE, generator=generator)


def test_samples_of_ordinary_size_keep_their_latents():
    assert statuses(0.3) == ["pass", "pass", "pass"]


def test_samples_at_the_ends_of_the_interval_are_a_usual_warning_and_no_failure_of_the_inverse():
    assert statuses(5.0) == ["pass", "warn", "pass"]


def test_where_all_samples_are_lost_the_round_trip_is_not_measured():
    assert statuses(500.0) == ["pass", "warn", "skip"]


def test_samples_beyond_the_unit_interval_are_lost_too_where_the_logit_has_a_margin():
    """A margin of 1e-5 makes the logits of saturated pixels finite, and as wrong."""
    assert statuses(1e-4, Logit(1e-5), Shear()) == ["pass", "pass", "pass"]
    assert statuses(1.0, Logit(1e-5), Shear()) == ["pass", "warn", "skip"]


def test_samples_outside_of_the_interval_that_no_sigmoid_has_rounded_still_have_to_come_back():
    """Numbers beyond [0, 1] are ordinary where there is no logit."""
    x = torch.linspace(-2, 3, 32).reshape(2, 1, SIDE, SIDE)
    z = torch.full((2, SIDE * SIDE), 1e4)
    base = Wide(1.0)
    prior = read_prior(base, SIDE * SIDE, x.device)
    assert not saturated(x, z, base, prior).any()
    assert saturated(x.clamp(-1e-5, 1 + 1e-5), z, base, prior).all()
    assert not saturated(x.clamp(-1e-5, 1 + 1e-5), 0 * z, base, prior).any()
