"""Causes of infinite, inexact and impossible numbers: each is named where it was planted."""

import pytest
import torch

from nf_mnist.bijectors import ActNorm, Bijector
from nf_mnist.diagnostics import Batch, DiagnosisTask, Result
from nf_mnist.diagnostics.causes.bits import cause_of_many_bits
from nf_mnist.diagnostics.causes.numbers import cause_in_low_precision
from nf_mnist.diagnostics.causes.values import cause_in_bare_levels, largest_latent
from nf_mnist.diagnostics.checks import fit
from tests.support.diagnosis_tasks import first_failure, results
from tests.support.strangers import DIMS, Coupling, Matrix, UnsavedPermutation, flow_of, images, task_of

FLOAT32 = "images come back in float32"


class Additive(Coupling):
    def parameters_given(self, x):
        scale, shift = super().parameters_given(x)
        return 0 * scale, shift


class SquareRoot(Bijector):
    """z = sign(x) x^2; the inverse forgets the sign under the root."""

    def forward_and_log_det(self, x, context=None):
        return x * x.abs(), (2 * x.abs()).log().sum(1)

    def inverse_and_log_det(self, z, context=None):
        x = z.log().mul(0.5).exp()
        return x, -(2 * x.abs()).log().sum(1)


class LowPrecision(Matrix):
    """Multiplies in bfloat16 where its input is float32, as under autocast."""

    def forward_and_log_det(self, x, context=None):
        if x.dtype != torch.float32:
            return super().forward_and_log_det(x)
        z = x.reshape(-1, self.places, 4).bfloat16() @ self.weight.T.bfloat16()
        return z.float().flatten(1), (self.factor * self.log_abs_det()).expand(len(x))


class Table(Bijector):
    """The identity, with probability 0 for large values."""

    def forward_and_log_det(self, x, context=None):
        return x, torch.where(x > 2.5, -torch.inf, 0.0).sum(1).to(x)

    def inverse_and_log_det(self, z, context=None):
        return z, -self.forward_and_log_det(z)[1]


class Spikes(Bijector):
    """Moves what is not in the middle of a level far away."""

    def forward_and_log_det(self, x, context=None):
        levels = 256 * (x.sigmoid() - 0.05) / 0.9
        return x + 1e5 * (levels - levels.floor() - 0.5), x.new_zeros(len(x))

    def inverse_and_log_det(self, z, context=None):
        raise NotImplementedError


def with_empty(batch: Batch, n: int) -> Batch:
    levels = batch.levels.clone()
    levels[:n] = 0
    return batch._replace(levels=levels)


@pytest.mark.parametrize(("n", "status"), [(0, "pass"), (12, "fail")])
def test_empty_images_are_counted(n, status):
    task = DiagnosisTask(flow_of(Coupling()), with_empty(images(), n), images(seed=1))
    result = results(task, ["images show something"])["images show something"]
    assert result.status == status
    assert ("images are empty" in result.cause, result.measured == "12 of 60 images") == (bool(n), bool(n))


def test_empty_training_images_are_told_from_empty_images():
    task = DiagnosisTask(flow_of(Coupling()), images(), with_empty(images(seed=1), 6))
    result = first_failure(task)
    assert result.cause.startswith("training images are empty")
    assert result.measured == "6 of 60 training images"


@pytest.mark.parametrize(("last", "is_named"), [(Additive(1), True), (Coupling(1), False), (ActNorm((DIMS,)), False)])
def test_a_flow_that_scales_nothing_is_told_from_one_that_does(last, is_named):
    task = task_of(Additive(), last)
    task.flow.train()
    task.flow(task.batch.x)  # sets ActNorm
    task.flow.eval()
    cause = cause_of_many_bits(task, 1e9)
    assert (cause is not None and "no layer scales" in cause.text) == is_named


def test_a_root_in_the_inverse_alone_is_not_taken_for_a_determinant():
    result = first_failure(task_of(Coupling(), SquareRoot()))
    assert result.check == "values are finite"
    assert "the inverse does not undo forward: a logarithm is taken of a negative number" in result.cause
    assert "SquareRoot" in result.measured


@pytest.mark.parametrize(("layer", "is_named"), [(LowPrecision(False), True), (Matrix(False), False)])
def test_a_layer_that_computes_in_bfloat16_is_named(layer, is_named):
    result: Result = results(task_of(Coupling(), layer), [FLOAT32])[FLOAT32]
    assert (result.status == "fail") == is_named
    assert ("LowPrecision) computes in a lower precision than float32: what forward" in result.cause) == is_named


class NoInverse(Coupling):
    def inverse_and_log_det(self, z, context=None):
        raise NotImplementedError


def test_layers_without_an_inverse_do_not_hide_one_of_low_precision():
    assert "LowPrecision" in cause_in_low_precision(task_of(NoInverse(), LowPrecision(False))).text
    assert cause_in_low_precision(task_of(NoInverse(), Matrix(False))) is None


def test_a_table_that_gives_values_no_probability_is_named():
    name = "log-likelihoods are finite"
    result = results(task_of(Coupling(), Table()), [name])[name]
    assert (result.status, result.is_shown) == ("fail", True)
    assert "Table) gives some values probability 0" in result.cause


def test_levels_without_noise_are_tried_in_the_middle_of_their_range_too():
    task = task_of(Spikes())
    largest = largest_latent(task)
    assert "trained on grey levels without noise" in cause_in_bare_levels(task, largest).text
    assert cause_in_bare_levels(task_of(Coupling()), largest_latent(task_of(Coupling()))) is None


def test_an_order_that_suits_by_chance_does_not_explain_permutations_that_are_not_saved(monkeypatch):
    name = "weights fit the code and the images"
    monkeypatch.setattr(fit, "reordered", lambda flow: [("layers have been loaded in the opposite order", flow)])
    monkeypatch.setattr(fit, "_median_bits", lambda flow, few: 1.0)
    plain, shuffled = (results(task_of(Coupling(), *rest), [name])[name] for rest in ((), (UnsavedPermutation(),)))
    assert "opposite order" in plain.cause
    assert "is a random permutation and not in state_dict()" in shuffled.cause
    assert (plain.is_shown, shuffled.is_shown) == (True, False)
