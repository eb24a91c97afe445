"""Healthy flows that look odd get no false cause."""

import math

import pytest
import torch
from torch import nn

from nf_mnist.bijectors import Bijector
from nf_mnist.diagnostics import Check, DiagnosisTask, Measurement, diagnose
from nf_mnist.diagnostics.measures.initial_values import may_be_drawn
from nf_mnist.diagnostics.measures.weights import read_weights
from nf_mnist.flows import Flow
from tests.support.diagnosis_tasks import results
from tests.support.strangers import Coupling, Residual, flow_of, images, task_of

CLAIMED = 0.1  # nats of a log-determinant that is 0: more than rounding makes of it, and less than what tells anything
JACOBIAN, GRADIENTS = "log-determinant is that of the Jacobian", "gradients are those of log p"


def zero_at_last(n_in: int, n_out: int) -> nn.Sequential:
    """Return a network as it is drawn, whose last layer is 0."""
    net = nn.Sequential(nn.Linear(n_in, 64), nn.ReLU(), nn.Linear(64, n_out))
    nn.init.trunc_normal_(net[0].weight, std=0.02)
    nn.init.zeros_(net[2].weight)
    return net


class Triangular(nn.Module):
    """A layer of one's own whose matrices begin at no value that is known."""

    def __init__(self):
        super().__init__()
        self.lower, self.log_diagonal = nn.Parameter(torch.randn(8, 8).tril()), nn.Parameter(torch.randn(8))


def test_an_untrained_flow_of_fixed_and_drawn_parts_is_untrained_and_not_loaded_in_part():
    torch.manual_seed(0)
    weights = read_weights(nn.Sequential(zero_at_last(16, 32), Triangular(), zero_at_last(16, 32), Triangular()))
    assert (weights.are_initial, weights.are_mixed, weights.moved) == (True, False, [])


@pytest.mark.parametrize(
    "draw", [nn.init.normal_, nn.init.uniform_, nn.init.trunc_normal_], ids=lambda one: one.__name__
)
def test_numbers_that_are_drawn_are_told_from_trained_ones(draw):
    torch.manual_seed(0)
    value = draw(torch.empty(64, 64))
    assert may_be_drawn(3 * value)
    assert not may_be_drawn(value + 0.3 * torch.randn(64, 64) ** 3)


def test_a_number_that_is_not_finite_gets_no_cause_but_that():
    check = Check("small", lambda _: Measurement(math.nan), "units", 1.0, 2.0, "too large", "less", (), is_cheap=False)
    (result,) = diagnose(task_of(Coupling()), [check])
    assert (result.status, result.is_shown, "not finite" in result.cause) == ("fail", False, True)


def test_samples_with_latents_that_are_not_finite_are_no_other_temperature():
    class Saturating(Coupling):
        """An inverse that reaches 0 and 1 where latents lie far out; forward is infinite there."""

        def forward_and_log_det(self, x, context=None):
            z, log_det = super().forward_and_log_det(x)
            return torch.where(x.abs().amax(1, keepdim=True) > 2.8, torch.nan, z), log_det

    flow = flow_of(Coupling(deviation=0.01))
    task = DiagnosisTask(flow, images())
    name = "samples have the norm of the prior"
    whole = results(task, [name])[name]
    flow.bijector.bijectors[-1].__class__ = Saturating
    part = results(DiagnosisTask(flow, images()), [name])[name]
    assert "not finite" not in part.cause
    assert part.status in (whole.status, "skip")


class DrawnTerms(Residual):
    """Draws the number of terms of its log-determinant once for the whole batch; both numbers have the same mean."""

    def forward_and_log_det(self, x, context=None):
        z, exact = super().forward_and_log_det(x)
        return z, exact + 1e-7 * (2.0 * torch.randint(2, ()) - 1)


def test_an_estimate_whose_number_of_terms_is_drawn_for_the_batch_is_an_estimate():
    task = task_of(DrawnTerms(), Coupling(1))
    assert task.is_estimate
    names = ["events do not mix", JACOBIAN, GRADIENTS]
    assert {one.status for one in results(task, names).values()} == {"pass"}


def test_a_determinant_that_float64_cannot_resolve_is_evidence_of_nothing():
    class Steep(Bijector):
        """Stretches one number by 1e7 and another by 1e-7, with a rotation before that hides it."""

        def __init__(self):
            super().__init__()
            generator = torch.Generator().manual_seed(0)
            rotation = torch.linalg.qr(torch.randn(16, 16, generator=generator, dtype=torch.float64)).Q
            self.register_buffer("rotation", rotation)
            self.register_buffer("scales", torch.logspace(-7, 7, 16, dtype=torch.float64))

        def forward_and_log_det(self, x, context=None):
            z = (x @ self.rotation.to(x) * self.scales.to(x)) @ self.rotation.to(x)
            return z, x.new_full((len(x),), CLAIMED)

        def inverse_and_log_det(self, z, context=None):
            x = (z @ self.rotation.to(z).T / self.scales.to(z)) @ self.rotation.to(z).T
            return x, z.new_full((len(z),), -CLAIMED)

    assert results(task_of(Steep()), [JACOBIAN])[JACOBIAN].status == "skip"


def test_a_flow_that_renames_what_it_loads_keeps_its_gradients():
    class Loader(Flow):
        """Exchanges its two couplings when it loads them."""

        def load_state_dict(self, state_dict, strict=True, assign=False):
            names = {".2.": ".3.", ".3.": ".2."}
            renamed = {key[:18] + names.get(key[18:21], key[18:21]) + key[21:]: one for key, one in state_dict.items()}
            return super().load_state_dict(renamed, strict, assign)

    flow = flow_of(Coupling(0), Coupling(1))
    flow.__class__ = Loader
    assert results(DiagnosisTask(flow, images()), [GRADIENTS])[GRADIENTS].status == "pass"


class Detached(Bijector):
    def forward_and_log_det(self, x, context=None):
        return x.detach(), x.new_zeros(len(x))

    def inverse_and_log_det(self, z, context=None):
        return z, z.new_zeros(len(z))


def test_parameters_that_the_gradient_does_not_reach_are_named():
    result = results(task_of(Coupling(0), Detached(), Coupling(1)), [GRADIENTS])[GRADIENTS]
    assert (result.status, result.is_shown) == ("fail", True)
    assert "depends on 4 parameters" in result.cause
    assert "bijectors.2.net" in result.cause
