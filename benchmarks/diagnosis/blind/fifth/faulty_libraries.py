"""Faulty flows of layers of normflows, nflows, zuko and FrEIA."""

from functools import partial
from typing import Any

import numpy as np
import torch
import zuko
from FrEIA.framework import SequenceINN
from FrEIA.modules import RNVPCouplingBlock
from FrEIA.modules.invertible_resnet import ActNorm
from nflows.transforms import AdditiveCouplingTransform, CompositeTransform, ReversePermutation
from normflows.flows import Flow as NormflowsFlow
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.diagnosis.blind.builders import DIMS, SHAPE, on_vectors
from benchmarks.diagnosis.blind.cases import Case
from benchmarks.diagnosis.blind.fifth.healthy_libraries import (
    Net,
    TwoSided,
    freia_blocks,
    nflows_matrices,
    normflows_lined,
    zuko_sums,
)
from benchmarks.diagnosis.blind.fifth.layers import train_soon
from benchmarks.diagnosis.blind.training import train
from nf_mnist.adapters import FromFrEIA, FromNflows, FromZuko
from nf_mnist.bijectors import Flatten, Logit, Sequential
from nf_mnist.flows import Flow


class Shuffle(NormflowsFlow):
    """A random permutation, https://github.com/ikostrikov/pytorch-flows/pull/17."""

    def __init__(self) -> None:
        super().__init__()
        self.order = torch.from_numpy(np.random.permutation(DIMS))  # noqa: NPY002

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return z[:, self.order], z.new_zeros(len(z))

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Put the elements back."""
        return z[:, self.order.argsort()], z.new_zeros(len(z))


class DropoutNet(nn.Module):
    """A network with dropout as a function, which does not know the mode of the module."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.proj_in, self.proj_out = nn.Linear(n_in, 64), nn.Linear(64, n_out)
        nn.init.normal_(self.proj_out.weight, std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        """Map vectors."""
        return self.proj_out(F.dropout(F.relu(self.proj_in(x)), 0.1))


class SameSideFirst(TwoSided):
    """The inverse goes through both halves in the same order as the forward pass."""

    def undo(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        log_scale, shift = self.told(self.of_first, second)
        first = (first - shift) * (-log_scale).exp()
        other_scale, other_shift = self.told(self.of_second, first)
        return first, (second - other_shift) * (-other_scale).exp(), (log_scale + other_scale).sum(1)


class Standardising(ActNorm):
    """A normalisation of FrEIA's whose log-determinant is the same in both directions.

    https://github.com/vislearn/FrEIA/pull/57 is about what FrEIA expects of the inverse.
    """

    def forward(self, x: Any, rev: bool = False, jac: bool = True) -> Any:
        """Normalise, or undo that."""
        result, log_det = super().forward(x, rev, jac)
        return result, -log_det if rev else log_det


def checked_matrices() -> Flow:
    """Build matrices of nflows, and check the shapes by a first image, for which they keep their matrices in mind."""
    flow = nflows_matrices(using_cache=True).eval()
    with torch.no_grad():
        assert flow.decode(flow.encode(torch.full((1, *SHAPE), 0.5))).shape == (1, *SHAPE)
    return flow


def additive() -> Flow:
    """Build additive couplings of nflows after the logit, with nothing that scales."""
    layers: list[Any] = []
    for i in range(4):
        layers += [AdditiveCouplingTransform(torch.arange(DIMS) % 2 == i % 2, Net), ReversePermutation(DIMS)]
    return Flow(Sequential([Logit(), Flatten(SHAPE), FromNflows(CompositeTransform(layers))]), SHAPE)


def circular() -> Flow:
    """Build circular splines of zuko, whose features are angles."""
    return on_vectors(FromZuko(zuko.flows.NCSF(DIMS, bins=4, transforms=1, passes=2, hidden_features=[32])))


def stretched() -> Flow:
    """Build normalisations and couplings of FrEIA."""
    sequence = SequenceINN(DIMS)
    for _ in range(2):
        sequence.append(Standardising)
        sequence.append(RNVPCouplingBlock, subnet_constructor=Net)
    return Flow(Sequential([Logit(), Flatten(SHAPE), FromFrEIA(sequence)]), SHAPE)


FAULTY_LIBRARIES: dict[str, Case] = {
    "normflows_shuffled": Case(partial(normflows_lined, Shuffle), train_soon),
    "nflows_checked": Case(checked_matrices, weights="nflows_matrices"),
    "nflows_shifts": Case(additive, partial(train, n_steps=120, lr=3e-3)),
    "zuko_polynomials": Case(partial(zuko_sums, 3.0), partial(train, n_steps=60, lr=5e-3)),
    "zuko_angles": Case(circular, partial(train, n_steps=50, lr=5e-3)),
    "freia_halves": Case(partial(freia_blocks, (SameSideFirst, {})), weights="freia_sides"),
    "freia_nets": Case(partial(freia_blocks, (RNVPCouplingBlock, {"subnet_constructor": DropoutNet})), train_soon),
    "freia_stretched": Case(stretched, train_soon),
}
