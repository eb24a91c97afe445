"""Healthy flows fail no check, and faults that are planted in a flow are named."""

import math

import pytest
import torch

from benchmarks.diagnosis.faulty_log_dets import LogDetDetached
from nf_mnist.bijectors import ActNorm, AffineCoupling, BatchNorm, Bijector
from nf_mnist.diagnostics import Check, Measurement, diagnose, slopes_of_log_p
from nf_mnist.diagnostics.base import CALL, NOT_A_NUMBER
from nf_mnist.flows import Flow, StandardNormal
from tests.bijectors.test_contract import FAULTS, Counting, Failing, InPlace, Scale, Transposed
from tests.support.diagnosis_tasks import NAMES, bars, first_failure, make_task, results, task_of_four_numbers, trained
from tests.support.registry import FLOWS, make_flow

SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "n_steps"),
    [
        ("hierarchical", 60),
        *(
            pytest.param(name, n_steps, marks=SLOW)
            for name, n_steps in (("resflow_actnorm", 60), ("cp3", 60), ("conditional", 60), ("jet", 150))
        ),
    ],
)
def test_healthy_flows_trained_for_seconds_fail_no_check(name, n_steps):
    flow = FLOWS[name]()
    by_name = results(make_task(trained(flow, bars(1000, flow.event_shape[1]), n_steps)))
    assert not {name: result for name, result in by_name.items() if result.status == "fail"}
    of_the_map = [by_name[name] for name in NAMES[: NAMES.index("every log-determinant counts")]]
    unusual = [result for result in of_the_map if result.status == "warn" and not result.is_usual]
    assert not unusual


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_each_violation_of_the_contract_is_the_first_check_that_fails(fault):
    check, said = FAULTS[fault]
    failure = first_failure(task_of_four_numbers(fault()))
    assert failure.check == check
    assert all(word in failure.measured for word in said.split()), failure
    assert failure.cause
    assert failure.remedy


@pytest.mark.parametrize("fault", [Transposed, Failing, InPlace])
def test_checks_that_need_a_failed_one_are_skipped_and_the_others_go_on(fault):
    by_name = results(task_of_four_numbers(fault()))
    assert list(by_name) == NAMES
    assert by_name["log-determinant is that of the Jacobian"].status == "skip"
    assert "says nothing without this" in by_name["the norm of z is a shell"].measured
    assert by_name["data are dithered"].status == "pass"


def test_any_object_with_both_directions_is_measured():
    class Halved:
        """No module, and latents of another shape than its data."""

        def forward_and_log_det(self, x):
            return (x / 2).reshape(-1, 2, 2), x.new_full((len(x),), -4 * math.log(2))

        def inverse_and_log_det(self, z):
            return 2 * z.reshape(-1, 4), z.new_full((len(z),), 4 * math.log(2))

    by_name = results(task_of_four_numbers(Halved()))
    names = NAMES[: NAMES.index("images come back in float32")]
    unknown = {  # nothing is known of them here
        "the sets share no image",
        "images are like the training images",
        "the saved state is the whole flow",
        "images lie as those the flow learned",
        "weights fit the code and the images",
        "latents have not collapsed",
    }
    of_layers = {"residual networks are contractions", "couplings have networks of their own"}  # there are none
    skipped = {*unknown, *of_layers, "dimensions of z depend on each other's pixels"}
    assert {name for name in names if by_name[name].status != "pass"} == skipped


JACOBIAN = "log-determinant is that of the Jacobian"
GRADIENTS = "gradients are those of log p"


@pytest.mark.parametrize(("fault", "status"), [(AffineCoupling, "pass"), (LogDetDetached, "fail")])
def test_a_log_determinant_without_gradient_is_named(fault, status):
    flow = make_flow("resflow", torch.float32)
    for layer in flow.modules():
        if isinstance(layer, AffineCoupling):
            layer.__class__ = fault
    by_name = results(make_task(flow), [JACOBIAN, GRADIENTS])
    assert (by_name[JACOBIAN].status, by_name[GRADIENTS].status) == ("pass", status), by_name


def test_slopes_are_those_of_a_density_that_is_known():
    """Of ``z = exp(s) x + b`` in one dimension: in s, 1 of the log-determinant and ``-exp(s) x z`` of the base."""
    x = torch.tensor([[0.3], [-1.2]], dtype=torch.float64)
    flow = Flow(ActNorm((1,)).double().eval(), (1,))
    with torch.no_grad():
        flow.bijector.log_scale.fill_(0.5)
        flow.bijector.shift.fill_(-0.2)
    slopes = slopes_of_log_p(flow, x, None, seed=3)
    generator = torch.Generator().manual_seed(3)
    along = {
        name: float(torch.randn(1, generator=generator)) * (value.abs().item() + 1e-3)
        for name, value in flow.bijector.named_parameters()
    }
    z = math.exp(0.5) * x - 0.2
    of_base = -(math.exp(0.5) * x * z).sum() * along["log_scale"] - z.sum() * along["shift"]
    for slope, expected in ((slopes.base, of_base), (slopes.log_det, 2 * along["log_scale"])):
        assert slope.claimed == pytest.approx(float(expected), rel=1e-6)
        assert slope.measured[0] == pytest.approx(float(expected), rel=1e-6)
        assert slope.error < 1e-6


def test_undithered_levels_are_named_and_so_is_the_remedy():
    task = make_task(make_flow("resflow", torch.float32), "none")
    (result,) = results(task, ["data are dithered"]).values()
    assert (result.status, result.overrides) == ("fail", ("data.dequantizer=uniform",))


def test_spikes_on_levels_are_found_from_outside():
    class Spikes(Bijector):
        """Stretches each pixel about its level by 1e5: a density that only undithered levels have."""

        def forward_and_log_det(self, x, context=None):
            nearest = ((x * 255).round() / 255).detach()
            return (1e5 * (x - nearest)).flatten(1), x.new_full((len(x),), 64 * math.log(1e5))

        def inverse_and_log_det(self, z, context=None):
            raise NotImplementedError

    (result,) = results(make_task(Flow(Spikes(), (1, 8, 8)).eval()), ["no spikes on grey levels"]).values()
    assert result.status == "fail"


def test_a_logit_that_is_not_counted_fails_where_there_are_bits_and_passes_where_there_are_none():
    flow = make_flow("resflow", torch.float32)
    flow.bijector.layers()[0].count_log_det = False
    names = ["every log-determinant counts", JACOBIAN]
    discrete, protocol = (results(make_task(flow, kind), names) for kind in ("uniform", "cp3"))
    assert [discrete[name].status for name in names] == ["fail", "pass"], "the map itself is right"
    assert discrete[names[0]].overrides == ("data.count_log_det=true",)
    assert [protocol[name].status for name in names] == ["pass", "pass"]


def test_running_statistics_that_never_saw_data_and_a_variance_at_the_floor_are_named():
    flow = make_flow("cp3", torch.float32)
    names = ["running statistics fit the data", "normalisation does not magnify"]
    norms = [layer for layer in flow.bijector.layers() if isinstance(layer, BatchNorm)]
    norms[-1].running_var.zero_()
    by_name = results(make_task(flow), names)
    assert [by_name[name].status for name in names] == ["fail", "fail"]
    assert "316 times" in by_name[names[1]].measured, "1 / sqrt(1e-5)"


@pytest.mark.parametrize(("eps", "variance", "status"), [(1e-5, 2.0**-12, "pass"), (1e-9, 2.0**-26, "fail")])
def test_a_narrow_dimension_is_magnified_without_alarm_and_one_of_no_width_with_alarm(eps, variance, status):
    flow = make_flow("cp3", torch.float32)
    name = "normalisation does not magnify"
    norms = [layer for layer in flow.bijector.layers() if isinstance(layer, BatchNorm)]
    norms[-1].eps = eps
    norms[-1].running_var.fill_(variance)
    result = results(make_task(flow), [name])[name]
    assert result.status == status, result
    assert f"{(variance + eps) ** -0.5:.3g} times" in result.measured
    assert " 0 variances near the floor" in result.measured


def test_an_unbounded_scale_function_is_warned_of():
    flow = make_flow("resflow", torch.float32)
    name = "scales are bounded"
    assert results(make_task(flow), [name])[name].status == "pass"
    next(m for m in flow.modules() if isinstance(m, AffineCoupling)).scale_activation = lambda raw: raw
    result = results(make_task(flow), [name])[name]
    assert result.status == "warn"
    assert "model.flow.scale_activation=tanh" in result.overrides


def test_a_base_without_its_constant_is_named():
    class Bare(StandardNormal):
        def log_prob(self, z):
            return -0.5 * z.square().sum(1)

    flow = make_flow("resflow", torch.float32)
    flow.base = Bare(flow.dims)
    failure = first_failure(make_task(flow, n=20))
    assert failure.check == "log p is that of z and the log-determinant"
    assert "constant" in failure.cause


def test_an_inverse_that_uses_what_the_last_forward_left_is_named():
    class Remembering(Scale):
        def forward_and_log_det(self, x, context=None):
            self.shift = x.detach().mean(1, keepdim=True)
            z, log_det = super().forward_and_log_det(x)
            return z - self.shift, log_det

        def inverse_and_log_det(self, z, context=None):
            x, log_det = super().inverse_and_log_det(z + self.shift[: len(z)])
            return x, log_det

    failure = first_failure(task_of_four_numbers(Remembering()))
    assert (failure.check, "cache" in failure.cause) == ("calls are independent", True)


def test_an_inverse_that_clips_is_named():
    class Clipping(Scale):
        def inverse_and_log_det(self, z, context=None):
            x, log_det = super().inverse_and_log_det(z)
            return x.clamp(0, 1), log_det

    failure = first_failure(task_of_four_numbers(Clipping()))
    assert (failure.check, "clips" in failure.cause) == ("forward undoes inverse", True)


def test_a_check_compares_the_measured_size_with_its_thresholds():
    def status(size: float) -> str:
        words = ("too large", "make it smaller")
        check = Check("small", lambda _: Measurement(size), "units", 1.0, 2.0, *words, needs=(), is_cheap=False)
        (result,) = diagnose(task_of_four_numbers(Counting()), [check])
        said = (NOT_A_NUMBER, CALL) if math.isnan(size) else words
        assert (result.cause, result.remedy) == (("", "") if result.status == "pass" else said)
        return result.status

    sizes = (0.0, 1.0, 1.1, 2.0, 2.1, float("inf"), float("nan"))
    assert [status(size) for size in sizes] == ["pass", "pass", "warn", "warn", "fail", "fail", "fail"]
