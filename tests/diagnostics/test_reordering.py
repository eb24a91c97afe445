"""Weights of a flow that was put together otherwise when it was trained."""

import math

import pytest
import torch
from torch import nn

from nf_mnist.bijectors import BatchNorm, Bijector, Sequential
from nf_mnist.diagnostics import Batch, DiagnosisTask
from nf_mnist.diagnostics.access.isolation import copied
from nf_mnist.diagnostics.causes.reordering import reordered
from nf_mnist.flows import Flow
from tests.support.diagnosis_tasks import results
from tests.support.strangers import Coupling, Matrix, flow_of, images

FIT = "weights fit the code and the images"


def first_weights(flow: Flow) -> list[torch.Tensor]:
    return [layer.net[0].weight for layer in flow.bijector.bijectors]


@pytest.mark.parametrize("order", ["text (1", "opposite"])
def test_layers_that_were_loaded_in_another_order_come_back_to_their_own(order):
    names = [str(i) for i in range(12)]
    given, taken = (sorted(names), names) if order.startswith("text") else (names, names[::-1])
    right = Flow(Sequential([Coupling(i) for i in range(12)]), (1, 4, 4))
    wrong = Flow(Sequential([Coupling(i) for i in range(12)]), (1, 4, 4))
    for source, target in zip(given, taken, strict=True):
        values = right.bijector.bijectors[int(source)].parameters()
        for value, own in zip(values, wrong.bijector.bijectors[int(target)].parameters(), strict=True):
            own.data = value.data.clone()
    assert not all(map(torch.equal, first_weights(right), first_weights(wrong)))
    found = [first_weights(flow) for how, flow in reordered(wrong) if order in how and "loaded" in how]
    assert any(all(map(torch.equal, first_weights(right), weights)) for weights in found)


@pytest.mark.parametrize("first", [0, 1])
def test_layers_may_have_had_other_numbers_in_their_files(first):
    """Two layers without weights stand before the blocks, whose files are numbered on their own."""
    files = [str(first + i) for i in range(12)]
    right, wrong = (flow_of(*(Coupling(i) for i in range(12))) for _ in range(2))
    for place, file in enumerate(sorted(files)):
        block = right.bijector.bijectors[2 + files.index(file)]
        wrong.bijector.bijectors[2 + place].load_state_dict(block.state_dict() | {"mask": block.mask})
        wrong.bijector.bijectors[2 + place].mask.copy_(right.bijector.bijectors[2 + place].mask)
    x = images(4).x
    assert not torch.equal(right.log_prob(x), wrong.log_prob(x))
    assert any(torch.equal(right.log_prob(x), flow.log_prob(x)) for how, flow in reordered(wrong) if "loaded" in how)


class Chain(Bijector):
    """Layers in a list of their own, which run in either direction."""

    def __init__(self, *layers: Bijector, is_turned: bool = False) -> None:
        super().__init__()
        self.layers, self.is_turned = nn.ModuleList(layers), is_turned

    def onward(self, value):
        total = value.new_zeros(len(value))
        for layer in self.layers:
            value, log_det = layer.forward_and_log_det(value)
            total = total + log_det
        return value, total

    def back(self, value):
        total = value.new_zeros(len(value))
        for layer in reversed(self.layers):
            value, log_det = layer.inverse_and_log_det(value)
            total = total + log_det
        return value, total

    def forward_and_log_det(self, x, context=None):
        return self.back(x) if self.is_turned else self.onward(x)

    def inverse_and_log_det(self, z, context=None):
        return self.onward(z) if self.is_turned else self.back(z)


def test_layers_that_were_trained_in_the_other_direction_are_turned():
    layers = [Coupling(0), Matrix(), Coupling(1), Coupling(2)]
    right, wrong = (flow_of(Chain(*layers, is_turned=is_turned)) for is_turned in (False, True))
    x = images(4).x
    (found,) = (flow for how, flow in reordered(wrong) if "2.layers were trained in the other direction" in how)
    torch.testing.assert_close(found.log_prob(x), right.log_prob(x))
    assert (wrong.log_prob(x) - right.log_prob(x)).abs().max() > 1
    assert torch.equal(flow_of(Chain(*layers, is_turned=True)).log_prob(x), wrong.log_prob(x))  # it is left unchanged


class Reorder(Bijector):
    """Puts elements into another order."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("order", torch.randperm(16, generator=torch.Generator().manual_seed(0)))

    def forward_and_log_det(self, x, context=None):
        return x[:, self.order], x.new_zeros(len(x))

    def inverse_and_log_det(self, z, context=None):
        return z[:, self.order.argsort()], z.new_zeros(len(z))


def striped(seed: int, n: int = 60) -> Batch:
    """Return images of 4 x 4 pixels whose rows are nearly even, of which each pixel tells its neighbours."""
    generator = torch.Generator().manual_seed(seed)
    rows = 200 * torch.rand(n, 1, 4, 1, generator=generator) + 20
    levels = (rows + 3 * torch.randn(n, 1, 4, 4, generator=generator)).round().to(torch.uint8)
    x = (levels + torch.rand(levels.shape, generator=generator)) / 256
    return Batch(x, torch.full((n,), 16 * math.log(256)), levels, None)


def trained_on_stripes(*layers: Bijector) -> Flow:
    """Return a flow of these layers that has learned :func:`striped` images."""
    flow, train = flow_of(*layers).train(), striped(1, 1000)
    optimizer = torch.optim.Adam(flow.parameters(), 3e-3)
    for _ in range(300):
        optimizer.zero_grad()
        (-flow.log_prob(train.x).mean()).backward()
        optimizer.step()
    return flow.eval()


@pytest.fixture(scope="module")
def trained() -> Flow:
    """Return a flow of couplings and permutations."""
    torch.manual_seed(0)
    return trained_on_stripes(*(Coupling(i % 2, 0.1) if i % 3 else Reorder() for i in range(6)))


def complement(flow: Flow) -> None:
    for layer in flow.modules():
        if hasattr(layer, "mask"):
            layer.mask.copy_(1 - layer.mask)


def invert(flow: Flow) -> None:
    for layer in flow.modules():
        if hasattr(layer, "order"):
            layer.order.copy_(layer.order.argsort())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (complement, "complements of the masks"),
        (invert, "permutations are done where the training undid them"),
        (lambda flow: None, ""),
    ],
)
def test_weights_of_other_masks_or_permutations_are_told_by_what_images_need_with_these(trained, change, words):
    flow = copied(trained)
    change(flow)
    result = results(DiagnosisTask(flow, striped(0)), [FIT])[FIT]
    assert (result.status, words in result.cause) == ("fail" if words else "pass", True), result


@pytest.mark.parametrize(("factor", "is_named"), [(1e-8, True), (1.0, False)])
def test_running_statistics_that_are_not_those_of_the_data_are_named(factor, is_named):
    norm = BatchNorm((16,))
    flow = trained_on_stripes(Coupling(0, 0.1), norm, Coupling(1, 0.1))
    norm.running_var.mul_(factor)
    result = results(DiagnosisTask(flow, striped(0), striped(1)), [FIT])[FIT]
    assert result.status == ("fail" if is_named else "pass"), result
    assert ("running statistics are not those of the data" in result.cause, result.is_shown) == (is_named, is_named)
