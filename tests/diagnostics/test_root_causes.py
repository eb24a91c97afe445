"""The cause that an experiment shows is named before what follows from it."""

import math

import pytest
import torch
from torch import nn

from nf_mnist.bijectors import Bijector, Flatten, Logit, Sequential
from nf_mnist.diagnostics import DiagnosisTask, undithered_gain
from nf_mnist.diagnostics.causes.label_experiments import cause_in_labels
from nf_mnist.diagnostics.measures.rounding import log_dets_round_to, rounds_to
from nf_mnist.flows import Flow
from tests.support.diagnosis_tasks import results
from tests.support.strangers import (
    DIMS,
    BiasedResidual,
    Coupling,
    EstimatedResidual,
    images,
    network,
    task_of,
)

INVERSE = "inverse undoes forward"


class Rounded(Bijector):
    """Rounds what passes through."""

    def __init__(self, how):
        super().__init__()
        self.how = how

    def forward_and_log_det(self, x, context=None):
        return self.how(x), x.new_zeros(len(x))

    def inverse_and_log_det(self, z, context=None):
        return z, z.new_zeros(len(z))


ROUNDINGS = {
    "float16": lambda x: x.half().to(x),
    "bfloat16": lambda x: x.bfloat16().to(x),
    "float32": lambda x: x.float().to(x),
    "do not change": lambda x: (64 * x).round() / 65,
}


@pytest.mark.parametrize("words", ROUNDINGS)
def test_values_that_are_rounded_are_named_with_their_precision(words):
    x = torch.randn(4, DIMS, dtype=torch.float64)
    assert words in rounds_to(Rounded(ROUNDINGS[words]), x)
    result = results(task_of(Coupling(), Rounded(ROUNDINGS[words]), Coupling(1)), [INVERSE])[INVERSE]
    if words == "float32":
        assert result.status == "pass", "which does no harm"
        return
    assert (result.is_shown, "rounded" in result.cause, "Rounded" in result.measured) == (True, True, True)


@pytest.mark.parametrize("healthy", [Coupling(), Rounded(lambda x: x)], ids=["coupling", "same"])
def test_what_answers_to_its_last_digits_does_not_round(healthy):
    assert rounds_to(healthy.double(), torch.randn(4, DIMS, dtype=torch.float64)) == ""


class Labelled(Bijector):
    """A shift by the label; the inverse may take it for another one."""

    def __init__(self, taken):
        super().__init__()
        self.taken, self.net = taken, network()

    def forward_and_log_det(self, x, context=None):
        return x.flatten(1) + context[:, None] + 1, x.new_zeros(len(x))

    def inverse_and_log_det(self, z, context=None):
        return (z - self.taken(context)[:, None] - 1).reshape(-1, 1, 4, 4), z.new_zeros(len(z))


TAKEN = {
    "takes label 0": lambda labels: 0 * labels,
    "shifted by 1": lambda labels: (labels + 3) % 4,
    "another order": lambda labels: torch.tensor([1, 0, 3, 2])[labels],
}


@pytest.mark.parametrize("words", TAKEN)
def test_labels_that_the_inverse_uses_otherwise_are_named(words):
    x = images().x[:1].double()
    assert words in cause_in_labels(Flow(Labelled(TAKEN[words]), (1, 4, 4), 4), x)
    assert cause_in_labels(Flow(Labelled(lambda labels: labels), (1, 4, 4), 4), x) == ""


class Summed(Bijector):
    """A flow whose sum of log-determinants is in bfloat16."""

    def __init__(self, *layers):
        super().__init__()
        self.whole = Sequential(layers)

    def forward_and_log_det(self, x, context=None):
        z, log_det = self.whole.forward_and_log_det(x)
        return z, log_det.bfloat16().to(x)

    def inverse_and_log_det(self, z, context=None):
        return self.whole.inverse_and_log_det(z)


def test_log_determinants_that_are_added_up_in_bfloat16_are_named():
    name = "log-determinants of both directions"
    whole = Summed(Logit(0.05), Flatten((1, 4, 4)), Coupling(), Coupling(1))
    task = DiagnosisTask(Flow(whole, (1, 4, 4)).eval(), images())
    result = results(task, [name])[name]
    assert (result.status, "added up in bfloat16" in result.cause) == ("fail", True)


class Claims(Coupling):
    """Multiplies the log-determinants of its directions."""

    def __init__(self, forward=1.0, inverse=1.0):
        super().__init__()
        self.forward_factor, self.inverse_factor = forward, inverse

    def forward_and_log_det(self, x, context=None):
        z, log_det = super().forward_and_log_det(x)
        return z, self.forward_factor * log_det

    def inverse_and_log_det(self, z, context=None):
        x, log_det = super().inverse_and_log_det(z)
        return x, self.inverse_factor * log_det


CLAIMS = {
    "that of the inverse is the exact one": Claims(forward=0.5),
    "that of forward is the exact one": Claims(inverse=0.5),
    "its sign is wrong": Claims(inverse=-1.0),
    "of both directions are wrong": Claims(0.5, 0.3),
}


@pytest.mark.parametrize("words", CLAIMS)
def test_the_direction_whose_log_determinant_is_wrong_is_named(words):
    name = "log-determinants of both directions"
    result = results(task_of(Coupling(1), CLAIMS[words]), [name])[name]
    assert (result.status, words in result.cause, result.is_shown) == ("fail", True, True)


def test_no_direction_is_blamed_for_a_difference_too_small_to_tell():
    class Off(Coupling):
        def inverse_and_log_det(self, z, context=None):
            x, log_det = super().inverse_and_log_det(z)
            return x, log_det + 3e-7 * DIMS

    name = "log-determinants of both directions"
    result = results(task_of(Coupling(1), Off()), [name])[name]
    assert (result.status, result.is_shown, "of both directions are wrong" in result.cause) == ("warn", False, False)


@pytest.mark.parametrize("healthy", [Coupling(), Rounded(lambda x: x)], ids=["coupling", "volume preserving"])
def test_log_determinants_in_full_precision_are_not_called_rounded(healthy):
    assert log_dets_round_to(healthy.double(), torch.randn(4, DIMS, dtype=torch.float64)) == ""


class RefusesOne(Coupling):
    """Cannot take one event alone, as batch statistics in training mode."""

    def forward_and_log_det(self, x, context=None):
        if len(x) < 2:
            raise ValueError("expected more than 1 value per channel when training")
        return super().forward_and_log_det(x)


def test_a_layer_that_cannot_take_an_event_alone_depends_on_the_batch():
    name = "events do not mix"
    result = results(task_of(Coupling(1), RefusesOne()), [name])[name]
    assert result.status == "fail"
    assert "one event alone" in result.measured
    assert "BatchNorm" in result.cause


def test_an_integral_too_coarse_for_a_map_that_a_biased_estimate_trained_is_the_estimates_fault():
    class Coarse(BiasedResidual):
        bias = 100.0

    result = results(task_of(Coarse(n_iterations=2)), [INVERSE])[INVERSE]
    assert (result.status, "estimate of the log-determinant has a bias" in result.cause) == ("fail", True)
    sound = results(task_of(EstimatedResidual(n_iterations=2)), [INVERSE])[INVERSE]
    assert "bias" not in sound.cause


class Product(Bijector):
    """Scales each element, and takes the logarithm of the product of the scales."""

    def __init__(self, scale):
        super().__init__()
        self.net, self.scale = network(), nn.Parameter(torch.full((DIMS,), scale))

    def forward_and_log_det(self, x, context=None):
        return x * self.scale, self.scale.prod().log().expand(len(x))

    def inverse_and_log_det(self, z, context=None):
        return z / self.scale, -self.scale.prod().log().expand(len(z))


@pytest.mark.parametrize(("scale", "status"), [(1e-4, "fail"), (1e-2, "pass")])
def test_a_product_that_float32_cannot_hold_is_named(scale, status):
    name = "log-likelihoods are finite"
    result = results(task_of(Coupling(), Product(scale)), [name])[name]
    assert result.status == status, result
    assert ("range of float32, in log of numbers from 0 to 0" in result.cause) == (status == "fail")


class Refusing(Logit):
    """A logit that refuses 0 and 1."""

    def forward_and_log_det(self, x, context=None):
        if x.min() <= 0 or x.max() >= 1:
            raise ValueError("outside of the domain")
        return super().forward_and_log_det(x, context)


def test_a_flow_that_refuses_0_and_1_is_asked_about_the_middle_of_levels():
    flow = Flow(Sequential([Refusing(0.0), Flatten((1, 4, 4)), Coupling()]), (1, 4, 4)).eval()
    levels = images().levels
    levels[:, :, 0] = torch.tensor([0, 255, 0, 255], dtype=torch.uint8)
    task = DiagnosisTask(flow, images()._replace(levels=levels, x=(levels + 0.5) / 256))
    assert math.isfinite(undithered_gain(flow, levels, task.batch.x))


class OneSided(Bijector):
    """A shift by the label which its inverse leaves out; another layer uses labels rightly."""

    def __init__(self, tells_inverse):
        super().__init__()
        self.net, self.tells_inverse = network(), tells_inverse

    def forward_and_log_det(self, x, context=None):
        return x + 0.1 * (1 + context[:, None]), x.new_zeros(len(x))

    def inverse_and_log_det(self, z, context=None):
        return z - 0.1 * (1 + self.tells_inverse * context[:, None]), z.new_zeros(len(z))


def test_a_layer_whose_inverse_leaves_out_the_label_is_named():
    layers = [Logit(0.05), Flatten((1, 4, 4)), OneSided(1), OneSided(0), OneSided(1)]
    flow = Flow(Sequential(layers), (1, 4, 4), 4).eval()
    batch = images()._replace(context=torch.arange(60) % 4)
    result = results(DiagnosisTask(flow, batch), [INVERSE])[INVERSE]
    assert "inverse of this layer does not depend on the label" in result.cause, result
    assert "bijectors.3 (OneSided)" in result.measured
