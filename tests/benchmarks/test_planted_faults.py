"""Planted faults are faults, and healthy flows have none that these tests can see."""

import contextlib
import copy
import json

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from benchmarks.diagnosis import planting
from benchmarks.diagnosis.faults import NAMED_BY, ROOT
from benchmarks.diagnosis.healthy_flows import HEALTHY, healthy_flow, small_images
from benchmarks.diagnosis.planted_faults import FAULTS, TRUTH
from benchmarks.diagnosis.planting import Planted, planted, replaced
from nf_mnist.bijectors import AffineCoupling
from nf_mnist.data import evaluation_noise
from nf_mnist.diagnostics import CHECKS
from nf_mnist.errors import NotInvertibleError
from nf_mnist.flows import Flow
from nf_mnist.metrics import bits_per_dim

RESULTS = ROOT / "results" / "planted_faults.json"


@pytest.fixture(scope="module")
def flow() -> Flow:
    return healthy_flow("multiscale", n_steps=20)


def data(case: Planted, levels: Tensor) -> tuple[Tensor, Tensor]:
    return case.dequantizer(levels, evaluation_noise(torch.arange(len(levels)), levels.shape[1:], draw=0, seed=0))


def visible(case: Planted) -> dict[str, Tensor]:
    """Return all that can be seen of a case in float64: outputs, gradients, state, data before and after a call."""
    torch.manual_seed(0)
    flow = copy.deepcopy(case.flow).double()
    x, log_q = (part.double() for part in data(case, small_images(case.flow.event_shape[-1]).held_out[:8]))
    seen = {"x": x.clone(), "log_q": log_q, "training": torch.tensor(flow.training)}
    _, seen["log_det"] = flow.bijector(x)
    seen["z"], seen["log_prob"] = flow(x)
    gradients = torch.autograd.grad(seen["log_prob"].sum(), [*flow.parameters()], allow_unused=True)
    seen |= {f"gradient {i}": gradient for i, gradient in enumerate(gradients) if gradient is not None}
    with contextlib.suppress(NotInvertibleError):  # as in training mode
        seen["decoded"], seen["log_det_back"] = flow.bijector.inverse_and_log_det(seen["z"].flip(0))
        seen["samples"] = flow.sample(8, generator=torch.Generator().manual_seed(1))
    return seen | {"x after": x} | flow.state_dict()


def differ(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    if one.keys() != other.keys():
        return True
    return any(one[key].dtype != other[key].dtype or not torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_shows_and_leaves_the_correct_flow_alone(name, flow, monkeypatch):
    monkeypatch.setattr(planting, "N_FURTHER_STEPS", 3)
    before = visible(planted(flow))
    faulty = FAULTS[name](flow)
    assert differ(visible(faulty), before)
    assert not differ(visible(planted(flow)), before)


def test_a_layer_replaced_by_its_like_shows_nothing(flow):
    alike = type("Alike", (AffineCoupling,), {})
    assert not differ(visible(replaced(alike)(flow)), visible(planted(flow)))


def test_each_fault_is_described_and_has_checks_that_name_it():
    assert len(set(TRUTH.values())) == len(TRUTH), "rows of the table are told apart by what is wrong"
    assert all(fault.__doc__ for fault in FAULTS.values())
    assert NAMED_BY.keys() == FAULTS.keys()
    assert {name for names in NAMED_BY.values() for name in names} <= {check.name for check in CHECKS}


def test_the_results_are_those_of_the_present_faults_and_flows():
    results = json.loads(RESULTS.read_text())
    assert {name: row["truth"] for name, row in results["faults"].items()} == TRUTH
    assert results["healthy"].keys() == HEALTHY.keys()
    for name, row in results["faults"].items():
        assert row["named"] == (row["first"].get("check") in NAMED_BY[name]), name


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_flow_has_a_finite_likelihood_and_inverts(name):
    case = planted(healthy_flow(name, n_steps=3))
    x, log_q = data(case, small_images(case.flow.event_shape[-1]).held_out[:8])
    with torch.no_grad():
        z, log_prob = case.flow(x)
        assert log_prob.isfinite().all()
        assert_close(case.flow.decode(z), x, atol=1e-3, rtol=0)
        assert bits_per_dim(log_prob, log_q, case.flow.dims).mean() < 16


def bpd(case: Planted, levels: Tensor) -> Tensor:
    x, log_q = data(case, levels)
    with torch.no_grad():
        return bits_per_dim(case.flow.log_prob(x), log_q, case.flow.dims)


@pytest.mark.slow
@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_flow_learns_and_does_as_well_on_images_held_out(name):
    case = planted(healthy_flow(name))
    train, held_out = (part[:1000] for part in small_images(case.flow.event_shape[-1]))
    assert bpd(case, held_out).mean() < 5  # a uniform density has 8
    assert bpd(case, held_out).mean() - bpd(case, train).mean() < 0.1


@pytest.mark.slow
def test_faults_that_are_trained_have_their_effect():
    flow = healthy_flow("multiscale")
    names = ("undithered", "overfitted", "collapsed_latents", "unbounded_scale", "no_variance_floor")
    undithered, overfitted, collapsed, unbounded, magnifying = (FAULTS[name](flow) for name in names)
    levels, larger = (small_images(side).held_out[:1000] for side in (8, 14))
    x, _ = data(planted(flow), levels)
    with torch.no_grad():
        assert bpd(undithered, levels).mean() < 0  # below that of any probability
        assert bpd(overfitted, levels).mean() > bpd(overfitted, overfitted.levels).mean() + 1
        assert collapsed.flow.encode(x).std() < 0.5 < flow.encode(x).std()
        assert unbounded.flow.encode(x).isfinite().all()
        assert not unbounded.flow.encode(torch.rand(1000, 1, 8, 8)).isfinite().all()
        assert magnifying.flow.encode(data(magnifying, larger)[0]).abs().max() > 50 > flow.encode(x).abs().max()


def test_runaway_scales_cost_digits_in_float32_only(flow):
    faulty = FAULTS["runaway_scales"](flow)
    x, _ = data(faulty, small_images(8).held_out[:8])
    with torch.no_grad():
        assert (faulty.flow.decode(faulty.flow.encode(x)) - x).abs().max() > 1e-4
        faulty.flow.double()
        assert_close(faulty.flow.decode(faulty.flow.encode(x.double())), x.double(), atol=1e-8, rtol=0)
