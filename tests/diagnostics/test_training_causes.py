"""What training did to a flow, or has not done yet, is told from what its code does."""

import math

import pytest
import torch

from nf_mnist.bijectors import Bijector, Flatten, Logit, Sequential
from nf_mnist.diagnostics import Batch, DiagnosisTask, undithered_gain
from nf_mnist.diagnostics.causes.bits import cause_of_many_bits
from nf_mnist.flows import Flow
from tests.support.diagnosis_tasks import results
from tests.support.strangers import (
    DIMS,
    Coupling,
    flow_of,
    images,
    task_of,
)

COLLAPSED = "latents have not collapsed"


class Narrowed(Coupling):
    """Shrinks its values a thousand times."""

    factor = 1e-3

    def forward_and_log_det(self, x, context=None):
        z, log_det = super().forward_and_log_det(x)
        return z * self.factor, log_det + DIMS * torch.tensor(self.factor).log()

    def inverse_and_log_det(self, z, context=None):
        x, log_det = super().inverse_and_log_det(z / self.factor)
        return x, log_det - DIMS * torch.tensor(self.factor).log()


def test_latents_that_training_has_shrunk_are_told_from_those_not_stretched_yet():
    collapsed = results(task_of(Coupling(1), Narrowed()), [COLLAPSED])[COLLAPSED]
    assert (collapsed.status, "log-determinant" in collapsed.cause) == ("fail", True)
    narrow = Flow(Coupling(0, 0.01), (DIMS,)).eval()
    batch = images()._replace(x=1e-2 * images().x.flatten(1))
    result = results(DiagnosisTask(narrow, batch), [COLLAPSED])[COLLAPSED]
    assert (result.status, result.size) == ("pass", 0.0)


class Scaled(Bijector):
    """Standardises the logits of black pixels."""

    def forward_and_log_det(self, x, context=None):
        return (x + 6.5) / 3, x.new_full((len(x),), -DIMS * math.log(3))

    def inverse_and_log_det(self, z, context=None):
        return 3 * z - 6.5, z.new_full((len(z),), DIMS * math.log(3))


def test_a_logit_at_exactly_zero_is_no_spike():
    """Black pixels are denser at 0 than dithered by the slope of the logit alone, and their latents are less likely."""
    flow = Flow(Sequential([Logit(1e-5), Flatten((1, 4, 4)), Scaled()]), (1, 4, 4)).eval()
    levels = torch.zeros(50, 1, 4, 4, dtype=torch.uint8)
    x = (levels + torch.rand(levels.shape, generator=torch.Generator().manual_seed(0))) / 256
    assert (flow.log_prob(0 * x) - flow.log_prob(x)).mean() / DIMS > 3
    assert undithered_gain(flow, levels, x) < 1


MIXED, OWN = "dimensions of z depend on each other's pixels", "couplings have networks of their own"


@pytest.mark.parametrize(("seeds", "status"), [((0, 0, 0), "warn"), ((0, 1), "pass")], ids=["one mask", "two masks"])
def test_dimensions_that_no_coupling_transforms_are_counted(seeds, status):
    result = results(task_of(*(Coupling(seed) for seed in seeds)), [MIXED])[MIXED]
    assert result.status == status
    assert ("8 of 16" in result.measured) == (status == "warn")


class SeesSteps(Coupling):
    """A coupling whose network sees rounded numbers, through which no gradient flows."""

    def seen(self, x):
        return super().seen(x).round()


@pytest.mark.parametrize(("seeds", "status"), [((0, 0, 0), "warn"), ((0, 1), "pass")], ids=["one mask", "two masks"])
def test_dimensions_that_follow_others_without_a_gradient_are_not_counted(seeds, status):
    result = results(task_of(*(SeesSteps(seed) for seed in seeds)), [MIXED])[MIXED]
    assert result.status == status, result.measured


def test_a_network_that_two_couplings_share_is_named_and_one_that_a_coupling_calls_twice_is_not():
    first, second = Coupling(0), Coupling(1)
    assert results(task_of(first, second), [OWN])[OWN].status == "pass"
    second.net = first.net
    result = results(task_of(first, second), [OWN])[OWN]
    assert (result.status, "bijectors.2.net" in result.measured) == ("warn", True)


def test_a_flow_of_spikes_on_bare_levels_was_trained_without_dither():
    class Spikes(Bijector):
        """Stretches the place within a level, as a density that sits on levels does."""

        def forward_and_log_det(self, x, context=None):
            within = 256 * x - (256 * x + 1e-3).floor()
            return (x + 1e8 * within).flatten(1), x.new_full((len(x),), DIMS * math.log(256e8))

        def inverse_and_log_det(self, z, context=None):
            return z.reshape(-1, 1, 4, 4) / 256e8, z.new_full((len(z),), -DIMS * math.log(256e8))

    name = "values have an ordinary size"
    result = results(DiagnosisTask(Flow(Spikes(), (1, 4, 4)).eval(), images()), [name])[name]
    assert (result.status, "without noise" in result.cause) == ("fail", True)


@pytest.mark.parametrize("is_said", [True, False])
def test_a_flow_that_does_nothing_behind_its_logit_is_said_to(is_said):
    name = "bits per dimension are possible"
    batch = images()
    batch = batch._replace(levels=torch.zeros_like(batch.levels), x=torch.rand_like(batch.x) / 256)  # all black
    nothing = Coupling(deviation=0.01)
    flow = flow_of(nothing) if is_said else flow_of(nothing, Shift())
    flow.bijector.bijectors[0] = Logit(0.0)
    result = results(DiagnosisTask(flow, batch), [name])[name]
    assert (result.status, "a logit and a standard normal alone" in result.cause) == ("fail", is_said)


class Shift(Bijector):
    """Moves latents away from 0."""

    def forward_and_log_det(self, x, context=None):
        return x - 5, x.new_zeros(len(x))

    def inverse_and_log_det(self, z, context=None):
        return z + 5, z.new_zeros(len(z))


class Fitted(Coupling):
    """The best affine map of logits for the loss -(weight * log p(z) + log_det)."""

    def __init__(self, logits, weight):
        super().__init__()
        self.mean, self.std = logits.mean(0), logits.std(0) * weight**0.5

    def forward_and_log_det(self, x, context=None):
        return (x - self.mean) / self.std, -self.std.log().sum().expand(len(x))

    def inverse_and_log_det(self, z, context=None):
        return z * self.std + self.mean, self.std.log().sum().expand(len(z))


@pytest.mark.parametrize("weight", [1 / DIMS, 1.0])
def test_a_log_determinant_of_too_much_weight_is_told_by_latents_of_one_width(weight):
    """The loss is least for latents of a deviation of 1 / sqrt(weight)."""
    generator = torch.Generator().manual_seed(0)
    levels = torch.linspace(20, 200, DIMS).reshape(1, 4, 4) + 4 * torch.randn(100, 1, 4, 4, generator=generator)
    levels = levels.round().to(torch.uint8)
    x = (levels + torch.rand(levels.shape, generator=generator)) / 256
    fitted = Fitted((0.05 + 0.9 * x.flatten(1)).logit(), weight)
    task = DiagnosisTask(flow_of(fitted), Batch(x, torch.full((100,), DIMS * math.log(256)), levels, None))
    cause = cause_of_many_bits(task, 10.0)
    if weight == 1:
        assert cause is None
    else:
        width = float(cause.text.split()[2])
        assert width == pytest.approx(4, rel=0.02), cause
        assert f"weight of the log-density of the base, as a sum over {DIMS} dimensions" in cause.text
