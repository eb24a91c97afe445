"""A fault in one layer of a flow is named together with the layer."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from nf_mnist.bijectors import AffineCoupling, BatchNorm, Bijector, Permutation, Sequential
from nf_mnist.flows import Flow
from tests.support.diagnosis_tasks import first_failure, make_task, results
from tests.support.registry import make_flow


def replace(flow: Flow, of: type[Bijector], spoil: Callable[[Bijector], Bijector]) -> Flow:
    """Replace the second layer of a class by a spoiled one."""
    sequential = flow.bijector
    assert isinstance(sequential, Sequential)
    second = [i for i, layer in enumerate(sequential.layers()) if isinstance(layer, of)][1]
    sequential.bijectors[second] = spoil(sequential.layers()[second])
    return flow


def spoiled(of: type[Bijector], change: Callable[..., tuple[Tensor, Tensor]], both: bool = True):
    """Return a class and how to spoil its layers, so that they return ``change(self, value, log_det)``."""

    def spoil(layer: Bijector) -> Bijector:
        class Spoiled(type(layer)):
            def forward_and_log_det(self, x, context=None):
                return change(self, *super().forward_and_log_det(x, context))

            def inverse_and_log_det(self, z, context=None):
                outputs = super().inverse_and_log_det(z, context)
                return change(self, *outputs) if both else outputs

        layer.__class__ = Spoiled
        return layer

    return of, spoil


def with_wrong_inverse(layer: Permutation) -> Bijector:
    class WrongInverse(Permutation):
        def inverse_and_log_det(self, z, context=None):
            return z[:, self.order], z.new_zeros(len(z))

    layer.__class__ = WrongInverse
    return layer


def without_mask(layer: AffineCoupling) -> Bijector:
    class WithoutMask(AffineCoupling):
        def forward_and_log_det(self, x, context=None):
            return super().forward_and_log_det(x)[0], self._all(x)

        def inverse_and_log_det(self, z, context=None):
            return super().inverse_and_log_det(z)[0], -self._all(z)

        def _all(self, values):
            kept = values * self.mask
            return self.scale_activation(self.scale_net(kept)).flatten(1).sum(1)

    layer.__class__ = WithoutMask
    return layer


JACOBIAN = "log-determinant is that of the Jacobian"
PLANTED = {  # flow, what is done to it, the first check that fails, and what its result says
    "mask": ("resflow", (AffineCoupling, without_mask), JACOBIAN, ["WithoutMask", "mask"]),
    "sign": ("resflow", spoiled(AffineCoupling, lambda _, v, d: (v, -d)), JACOBIAN, ["Spoiled", "sign is wrong"]),
    "mean": ("resflow", spoiled(AffineCoupling, lambda _, v, d: (v, d / 64)), JACOBIAN, ["Spoiled", "averaged over"]),
    "uncounted": ("cp3", spoiled(BatchNorm, lambda _, v, d: (v, 0 * d)), JACOBIAN, ["Spoiled", "not counted"]),
    "order": ("cp3", (Permutation, with_wrong_inverse), "inverse undoes forward", ["WrongInverse"]),
    "batch": ("cp3", spoiled(BatchNorm, lambda _, v, d: (v, d + v.mean())), "events do not mix", ["Spoiled"]),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_a_fault_in_one_layer_is_named_with_its_layer(fault):
    name, (of, spoil), check, said = PLANTED[fault]
    failure = first_failure(make_task(replace(make_flow(name, torch.float32), of, spoil), n=20))
    assert failure.check == check, failure
    assert all(words in failure.measured + failure.cause for words in said), failure


@pytest.mark.parametrize(
    ("spoil", "status", "words"),
    [
        (lambda _, v, d: (v, d.float().to(v.dtype)), "pass", "no more than rounding in float32"),
        (lambda _, v, d: (v, d + 5e-4), "warn", "a small term is wrong"),
    ],
    ids=["float32", "small term"],
)
def test_a_float32_part_of_a_sum_is_told_from_a_wrong_sum(spoil, status, words):
    flow = replace(make_flow("resflow", torch.float32), *spoiled(AffineCoupling, spoil))
    result = results(make_task(flow, n=20), [JACOBIAN])[JACOBIAN]
    assert result.status == status, result
    assert words in result.measured + result.cause
