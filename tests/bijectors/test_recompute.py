"""Recomputing activations in the backward pass gives the same gradients and statistics in less memory."""

import copy

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from nf_mnist.app.building import build_flow
from nf_mnist.bijectors import Bijector, DiscretizedMixture, GroupedMixture, MaskedCoupling
from nf_mnist.flows import Flow
from tests.support.helpers import SMALL, compose_config, first_difference
from tests.support.registry import FLOWS, events, small_uva, unsettle

COUPLINGS = (MaskedCoupling, DiscretizedMixture, GroupedMixture)


def recomputing(flow: Flow) -> Flow:
    """Return a copy whose couplings recompute activations."""
    flow = copy.deepcopy(flow)
    couplings = [part for part in flow.modules() if isinstance(part, COUPLINGS)]
    assert couplings
    for coupling in couplings:
        coupling.recompute = True
    return flow


def n_kept(flow: Flow, x: Tensor) -> int:
    """Return how many numbers a forward pass stores for the backward pass."""
    kept: dict[int, int] = {}

    def keep(value: Tensor) -> Tensor:
        kept[value.untyped_storage().data_ptr()] = value.untyped_storage().size() // value.element_size()
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        flow.log_prob(x).sum()
    return sum(kept.values())


@pytest.mark.parametrize(
    "name", ["resflow_batchnorm", "cp3", "realnvp", "glow", "spline", "uva_multiscale", "hierarchical"]
)
def test_recomputing_changes_neither_gradients_nor_statistics(name):
    torch.manual_seed(0)
    flow = unsettle(FLOWS[name]()).double().train()
    other, x = recomputing(flow), events(flow.event_shape, n=6)
    for each in (flow, other):
        each.log_prob(x).sum().backward()
    for (parameter_name, parameter), twin in zip(flow.named_parameters(), other.parameters(), strict=True):
        assert_close(twin.grad, parameter.grad, rtol=1e-5, atol=1e-12, msg=parameter_name)
    counts = [key for key in flow.state_dict() if key.endswith("num_batches_tracked")]
    states = [{key: value for key, value in each.state_dict().items() if key not in counts} for each in (flow, other)]
    assert first_difference(*states) == ""


def test_a_flow_that_recomputes_keeps_little_whatever_its_depth():
    x = events((1, 8, 8), n=4, dtype=torch.float32)
    shallow, deep = (n_kept(recomputing(small_uva(depth)), x) for depth in (2, 8))
    assert n_kept(small_uva(8), x) > 3.5 * n_kept(small_uva(2), x), "without, memory is linear in depth"
    assert deep < n_kept(small_uva(2), x)
    assert deep - shallow < 6 * 20 * x.numel(), "each coupling adds a few images"


@pytest.mark.parametrize(("model", "switch"), [("glow", "model.recompute"), ("hierarchical", "+model.recompute")])
@pytest.mark.parametrize("recompute", [True, False])
def test_the_switch_reaches_couplings_and_nothing_else(model, switch, recompute):
    flow = build_flow(compose_config([f"model={model}", *SMALL[model], f"{switch}={recompute}"]).model)
    for part in flow.modules():
        if isinstance(part, Bijector):
            assert part.recompute == (recompute and isinstance(part, COUPLINGS))
