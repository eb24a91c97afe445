"""Flows that are trained for seconds raise no alarm, and a fault that is typical of their family is named."""

import pytest
import torch

from nf_mnist.bijectors import MaskedAutoregression, OdeSolver
from nf_mnist.flows import Flow, RegularizedFlow, preprocessing
from nf_mnist.nets.contractive import SpectralConv
from tests.support.diagnosis_tasks import bars, first_failure, make_task, results, trained
from tests.support.registry import FLOWS
from tests.support.velocities import PerceptronVelocity

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["maf", "iaf", "residual_flow"])
def test_flows_trained_for_seconds_fail_no_check(name):
    torch.manual_seed(0)
    flow = FLOWS[name]()
    found = results(make_task(trained(flow, bars(500, flow.event_shape[1]), 50)))
    assert not {name: result for name, result in found.items() if result.status == "fail"}


def test_a_mask_that_is_off_by_one_is_named_with_its_layer():
    torch.manual_seed(0)
    flow = FLOWS["maf"]()
    flow = trained(flow, bars(500, flow.event_shape[1]), 50)
    layer = next(part for part in flow.modules() if isinstance(part, MaskedAutoregression))
    position, features = torch.tensor(layer.order).argsort(), len(layer.net.in_mask)
    degree = torch.arange(features) * (len(position) - 1) // features
    assert torch.equal(layer.net.in_mask, (position <= degree[:, None]).float())
    layer.net.in_mask.copy_(position <= degree[:, None] + 1)
    failure = first_failure(make_task(flow))
    assert "MaskedAutoregression" in failure.measured
    assert "an element that is transformed sees itself" in failure.cause


def test_a_coefficient_that_makes_no_contraction_is_named():
    torch.manual_seed(0)
    flow = FLOWS["residual_flow"]()
    flow = trained(flow, bars(500, flow.event_shape[1]), 50)
    for layer in flow.modules():
        if isinstance(layer, SpectralConv):
            layer.coefficient = 1.2
    failure = first_failure(make_task(flow.train().eval()))
    assert failure.check == "residual networks are contractions"
    assert "whose g is no contraction" in failure.cause


@pytest.fixture(scope="module")
def continuous_flow() -> Flow:
    torch.manual_seed(0)
    shape, few = (1, 8, 8), OdeSolver(n_steps=8)
    preprocess, velocity = preprocessing("logit", 1e-5, True)(shape), PerceptronVelocity(shape)
    flow = RegularizedFlow(preprocess, velocity, OdeSolver(1e-5), few, few, shape, 0, 0.01, 0.01)
    return trained(flow, bars(500, 8), 200, lr=1e-2)


def test_a_continuous_flow_trained_for_seconds_fails_no_check_and_leaves_none_undone(continuous_flow):
    found = results(make_task(continuous_flow))
    assert not {name: result for name, result in found.items() if result.status == "fail"}
    assert not {name: result for name, result in found.items() if "not done" in result.measured}


def test_a_tolerance_that_is_too_large_is_named_first(continuous_flow, monkeypatch):
    monkeypatch.setattr(continuous_flow.map.solver, "tolerance", 1.0)
    failure = first_failure(make_task(continuous_flow))
    assert "the steps of the integral are too coarse" in failure.cause
    assert "a smaller tolerance" in failure.remedy


class StopsHalfway(OdeSolver):
    def solve(self, derivative, start, begin, end, n_controlled=None):
        return super().solve(derivative, start, begin, (begin + end) / 2, n_controlled)


def test_a_sampler_that_does_not_go_all_the_way_is_named(continuous_flow, monkeypatch):
    monkeypatch.setattr(continuous_flow, "sampler", StopsHalfway(n_steps=4))
    found = results(make_task(continuous_flow))["samples have the norm of the prior"]
    assert "sampling decodes latents otherwise than the inverse does" in found.cause
