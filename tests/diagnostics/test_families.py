"""Autoregressive flows that are trained for seconds raise no alarm, and a mask that is off by one is named."""

import pytest
import torch

from nf_mnist.bijectors import MaskedAutoregression
from tests.support.diagnosis_tasks import bars, first_failure, make_task, results, trained
from tests.support.registry import FLOWS

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["maf", "iaf"])
def test_autoregressive_flows_trained_for_seconds_fail_no_check(name):
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
