"""Flows that others wrote: their mistakes are named by the cause that shows, and what is healthy is left alone."""

import math
import time

import pytest
import torch
from torch import nn

from nf_mnist.bijectors import ActNorm, Bijector
from nf_mnist.diagnostics import CHECKS, Batch, DiagnosisTask, Result, diagnose
from nf_mnist.diagnostics.measures.weights import read_weights
from nf_mnist.flows import Flow
from tests.support import strangers
from tests.support.diagnosis_tasks import NAMES, first_failure, results
from tests.support.strangers import DIMS, Coupling, flow_of, images, task_of

OF_THE_CODE = NAMES[: NAMES.index("images lie as those the flow learned")]
JACOBIAN, INVERSE, STATE = "log-determinant is that of the Jacobian", "inverse undoes forward", "state is left alone"
LOADED, SAVED, FINITE = "all weights are loaded", "the saved state is the whole flow", "values are finite"
GRADIENTS = "gradients are those of log p"

MISTAKES = {  # the first check that fails, and what it says
    strangers.SeesItself: (INVERSE, "sees itself"),
    strangers.MatrixWithoutPlaces: (JACOBIAN, "4 times too small"),
    strangers.MatrixOfNegativeDeterminant: (FINITE, "logarithm is taken of a negative number"),
    strangers.MatrixWithStaleInverse: (INVERSE, "weight changes forward but not inverse, which uses an older copy"),
    strangers.BiasedResidual: (JACOBIAN, "has a bias"),
    strangers.Accumulating: (STATE, "total may hold"),
    strangers.InPlainList: ("all parts are registered", "layers"),
    strangers.BoundedWithWrongTails: (JACOBIAN, "wrong where values are large"),
}


def said(result: Result) -> str:
    return f"{result.measured} {result.cause}"


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
@pytest.mark.parametrize("is_last", [True, False], ids=["last", "first"])
def test_a_mistake_is_named_first_with_the_cause_that_shows_and_its_layer(mistake, is_last):
    layers = [mistake(), Coupling(1)]
    result = first_failure(task_of(*(reversed(layers) if is_last else layers)))
    check, words = MISTAKES[mistake]
    assert result.check == check, result
    assert words in said(result)
    assert mistake.__name__ in result.measured or mistake in (strangers.InPlainList, strangers.BiasedResidual)


HEALTHY = (
    Coupling,
    strangers.Matrix,
    strangers.Residual,
    strangers.EstimatedResidual,
    strangers.Bounded,
    strangers.WithoutGradientInEvaluation,
)


@pytest.mark.parametrize("healthy", HEALTHY, ids=lambda healthy: healthy.__name__)
def test_the_code_of_a_healthy_flow_raises_no_alarm(healthy):
    by_name = results(task_of(healthy(), Coupling(1)), OF_THE_CODE)
    late = {"forward undoes inverse"}  # a flow that is not trained may lose samples that lie far out
    assert not [result for name, result in by_name.items() if result.cause and name not in late]


def test_an_inverse_that_stops_too_early_is_said_to_and_a_converged_one_passes():
    early, late = (results(task_of(strangers.Residual(n)), OF_THE_CODE)[INVERSE] for n in (2, 100))
    assert (early.status, late.status) == ("fail", "pass")
    assert "has not converged" in early.cause


def test_a_cache_that_moves_the_last_digits_of_float32_is_no_state():
    names = [STATE, "calls are independent", "events do not mix"]
    assert {one.status for one in results(task_of(strangers.Cached()), names).values()} == {"pass"}


def test_log_determinants_in_float32_are_not_taken_for_detached_ones():
    assert results(task_of(strangers.LogDetInFloat32()), [GRADIENTS])[GRADIENTS].status in ("pass", "skip")


def test_a_check_that_hangs_is_stopped_and_the_others_go_on():
    task = task_of(strangers.Slow())
    names = ["images come back in bfloat16", "scales are bounded", "the norm of z is that of the prior"]
    checks = {check.name: check for check in CHECKS}
    began = time.monotonic()
    stopped, *others = diagnose(task, [checks[name] for name in names], seconds=1)
    assert time.monotonic() - began < 20
    assert (stopped.status, "not done after 1 s" in stopped.measured) == ("skip", True)
    assert all("not done" not in result.measured for result in others)


def test_orders_that_are_kept_as_parameters_of_whole_numbers_need_no_gradient():
    class Ordered(Coupling):
        def __init__(self):
            super().__init__()
            self.order = nn.Parameter(torch.arange(16), requires_grad=False)

    assert results(task_of(Ordered()), [GRADIENTS])[GRADIENTS].status == "pass"


def test_any_number_of_seconds_is_a_limit():
    check = CHECKS[0]
    (result,) = diagnose(task_of(Coupling(1)), [check], seconds=2.0**62)
    assert result.status == "pass"


def test_a_flow_that_does_not_run_in_bfloat16_is_not_wrong():
    class Fails(Coupling):
        def forward_and_log_det(self, x, context=None):
            if torch.is_autocast_enabled("cpu"):
                raise IndexError("index 16 is out of bounds")
            return super().forward_and_log_det(x)

    (result,) = results(task_of(Fails()), ["images come back in bfloat16"]).values()
    assert (result.status, "out of bounds" in result.measured) == ("skip", True)


def test_the_base_is_asked_and_not_assumed():
    name = "log p is that of z and the log-determinant"
    flow = flow_of(Coupling())
    flow.base = strangers.LearnedNormal()
    assert results(DiagnosisTask(flow, images()), [name])[name].status == "pass"
    prior = DiagnosisTask(flow, images()).prior
    assert prior.excess == pytest.approx(0, abs=1e-6)
    assert torch.allclose(prior.mean.float(), flow.base.mean, atol=1e-5)
    assert torch.allclose(prior.std.float(), flow.base.log_std.exp(), atol=1e-5)
    flow.base.log_prob = lambda z: strangers.LearnedNormal.log_prob(flow.base, z) + 5.0
    result = results(DiagnosisTask(flow, images()), [name])[name]
    assert (result.status, "not normalized" in result.cause) == ("fail", True)


def test_samples_that_are_nan_are_said_once():
    class Broken(Coupling):
        def inverse_and_log_det(self, z, context=None):
            x, log_det = super().inverse_and_log_det(z)
            return torch.where(z.abs().amax(1, keepdim=True) > 1e3, x, x * torch.nan), log_det

    task = task_of(Coupling())
    task.samples = images()._replace(x=torch.full((60, 1, 4, 4), torch.nan))
    by_name = results(task, ["samples are finite", "samples have the norm of the prior", "fresh samples are like data"])
    assert [result.status for result in by_name.values()] == ["fail", "skip", "skip"]


def test_swapped_directions_are_named():
    result = first_failure(DiagnosisTask(Flow(strangers.Swapped(flow_of(Coupling()).bijector), (1, 4, 4)), images()))
    assert (result.check, "swapped" in result.cause) == ("forward runs from data to latent", True)


def test_swapped_directions_of_a_trained_flow_without_logit_are_named():
    name, task = "forward runs from data to latent", located(0)
    swapped = Flow(strangers.Swapped(Located()), (1, 4, 4))
    statuses = [results(DiagnosisTask(flow, task.batch), [name])[name].status for flow in (task.flow, swapped)]
    assert statuses == ["pass", "fail"]


def test_huge_weights_are_the_cause_and_not_the_code():
    class Unbounded(Coupling):
        def parameters_given(self, x):
            scale, shift = self.net(self.seen(x)).chunk(2, 1)
            return scale * (1 - self.mask), shift * (1 - self.mask)

    result = first_failure(task_of(*(Unbounded(i, 8.0) for i in range(4))))
    assert result.check in (FINITE, "values have an ordinary size")
    assert "diverge" in result.cause
    assert "With small weights" in result.cause


class Networks(Coupling):
    """A coupling with the initial weights of torch."""

    def __init__(self, seed=0):
        super().__init__(seed)
        self.net = nn.Sequential(nn.Linear(DIMS, 64), nn.Tanh(), nn.Linear(64, 2 * DIMS))


def moved(module: nn.Module) -> nn.Module:
    """Move weights as training does."""
    for value in module.parameters():
        value.data += 0.05 * torch.randn_like(value)
    return module


def test_weights_at_initial_values_are_told_from_trained_ones():
    torch.manual_seed(0)
    assert read_weights(nn.Sequential(Networks(), Networks(1))).are_initial
    assert not read_weights(moved(nn.Sequential(Networks(), Networks(1)))).initial
    half = nn.Sequential(Networks(), moved(Networks(1)))
    assert read_weights(half).are_mixed
    result = first_failure(task_of(*half))
    assert (result.check, "was not loaded" in result.cause) == (LOADED, True)


@pytest.mark.parametrize("is_loaded", [True, False])
def test_normalisations_that_were_loaded_without_their_networks_are_told_from_ones_that_data_set(is_loaded):
    torch.manual_seed(0)
    flow = flow_of(ActNorm((DIMS,)), Networks(), ActNorm((DIMS,)), Networks(1))
    flow.train()(images(seed=2).x)
    flow.eval()
    if is_loaded:
        for norm in (flow.bijector.bijectors[2], flow.bijector.bijectors[4]):
            norm.shift.data = 3 * torch.rand(DIMS)
            norm.log_scale.data = torch.randn(DIMS)
    result = results(DiagnosisTask(flow, images()), [LOADED])[LOADED]
    assert (result.status, "ActNorm" in result.measured) == ("fail" if is_loaded else "pass", is_loaded), result


def test_a_lack_of_training_is_the_cause_of_what_only_trained_flows_have():
    torch.manual_seed(0)
    by_name = results(task_of(Networks(), Networks(1)))
    late = NAMES[NAMES.index("no spikes on grey levels") :]
    causes = {by_name[name].cause for name in late if by_name[name].status in ("fail", "warn")}
    assert causes == {next(iter(causes))}
    assert "not trained" in next(iter(causes))
    assert by_name["no spikes on grey levels"].status == "skip"


def test_a_permutation_that_is_not_saved_is_named():
    def build() -> Flow:
        return flow_of(strangers.UnsavedPermutation(), Coupling())

    task = task_of(strangers.UnsavedPermutation(), Coupling(), rebuild=build)
    result = first_failure(task)
    assert (result.check, "order" in result.measured) == (SAVED, True)
    healthy = task_of(Coupling(), Coupling(1), rebuild=lambda: flow_of(Coupling(), Coupling(1)))
    assert {one.status for one in results(healthy, [LOADED, SAVED]).values()} == {"pass"}


def test_weights_that_each_build_draws_anew_beside_loaded_ones_were_not_loaded():
    weights = Coupling().state_dict()

    def build() -> Flow:
        loaded, forgotten = Networks(), Networks(1)
        loaded.net = Coupling().net
        loaded.load_state_dict(weights)
        return flow_of(loaded, forgotten)

    result = first_failure(DiagnosisTask(build(), images(), rebuild=build))
    assert (result.check, "each build draws" in result.measured) == (LOADED, True)


def test_images_in_both_sets_and_levels_that_are_not_used_are_named():
    levels = images().levels
    shared = task_of(Coupling(), sets=(levels, torch.cat([images(seed=1).levels, levels[:30]])))
    apart = task_of(Coupling(), sets=(levels, images(seed=1).levels))
    name = "the sets share no image"
    assert [results(task, [name])[name].status for task in (shared, apart)] == ["fail", "pass"]
    assert results(shared, [name])[name].size == pytest.approx(0.5)
    name, task = "images use the grey levels", task_of(Coupling())
    assert results(task, [name])[name].status == "pass"
    task.batch = task.batch._replace(levels=levels // 128)
    result = results(task, [name])[name]
    assert (result.status, "2 levels, the largest is 1" in result.measured) == ("fail", True)


class Located(Bijector):
    """The density of images that are dark at the left, and of a grey that grows with the label."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 8) ** 3)

    def means(self, x, context):
        columns = torch.linspace(-1, 1, 4).to(x).expand(4, 4).flatten()
        return columns if context is None else columns + context[:, None].to(x)

    def forward_and_log_det(self, x, context=None):
        z = 20 * (x.flatten(1) - 0.5) - self.means(x, context)
        return z, x.new_full((len(x),), DIMS * math.log(20))

    def inverse_and_log_det(self, z, context=None):
        x = (z + self.means(z, context)) / 20 + 0.5
        return x.reshape(-1, 1, 4, 4), z.new_full((len(z),), -DIMS * math.log(20))


def located(n_classes: int, change=lambda x: x, shift: int = 0) -> DiagnosisTask:
    """Return samples of :class:`Located`, changed, with labels that are shifted."""
    flow = Flow(Located(), (1, 4, 4), n_classes).eval()
    labels = torch.arange(90) % n_classes if n_classes else None
    x = change(flow.sample(90, context=labels, generator=torch.Generator().manual_seed(0)))
    context = None if labels is None else (labels + shift) % n_classes
    levels = (256 * x).clamp(0, 255).to(torch.uint8)
    return DiagnosisTask(flow, Batch(x, torch.full((90,), DIMS * math.log(256)), levels, context))


@pytest.mark.parametrize(("shift", "status", "words"), [(0, "pass", "none"), (1, "fail", "shifted by 2")])
def test_labels_that_are_off_by_one_are_named(shift, status, words):
    name = "images fit their own labels best"
    result = results(located(3, shift=shift), [name])[name]
    assert result.status == status
    assert words in said(result)


@pytest.mark.parametrize("is_shuffled", [False, True])
def test_labels_of_other_images_are_named(is_shuffled):
    name, task = "images fit their own labels best", located(10)
    if is_shuffled:
        order = torch.randperm(90, generator=torch.Generator().manual_seed(0))
        task.batch = task.batch._replace(context=task.batch.context[order])
    result = results(task, [name])[name]
    assert (result.status, "of other images" in result.cause) == (("pass", False), ("fail", True))[is_shuffled], result


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        (lambda x: x, "pass", "no change"),
        (lambda x: x.mT, "fail", "transposed"),
        (lambda x: x.flip(-1), "fail", "mirrored"),
        (lambda x: x.flip(-2), "pass", "no change"),  # rows are alike
    ],
    ids=["right", "transposed", "mirrored", "upside down"],
)
def test_images_that_lie_otherwise_than_in_training_are_named(change, status, words):
    name = "images lie as those the flow learned"
    result = results(located(0, change), [name])[name]
    assert result.status == status, result
    assert words in said(result) or "turned" in said(result)


def test_a_few_images_that_explode_are_no_overfitting():
    name = "validation scores as training does"
    task = located(0)
    task.train = task.batch
    task.batch = task.batch._replace(x=task.batch.x + (torch.arange(90) < 3)[:, None, None, None] * 20.0)
    result = results(task, [name])[name]
    assert (result.status, "explode" in result.cause) == ("fail", True)
