"""Samples with pixels at 0 or 1 are said to be lost, and say nothing of the inverse."""

import torch
from torch import nn

from nf_mnist.bijectors import Bijector, Flatten, Sequential
from nf_mnist.diagnostics import DiagnosisTask
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


def statuses(deviation: float) -> list[str]:
    """Return the outcomes for a flow whose prior has a deviation; coupled latents are larger still."""
    flow = Flow(Sequential([PlainLogit(), Flatten(SHAPE), Coupling()]), SHAPE).eval()
    flow.base = Wide(deviation)
    found = results(DiagnosisTask(flow, images()), NAMES)
    return [found[name].status for name in NAMES]


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
