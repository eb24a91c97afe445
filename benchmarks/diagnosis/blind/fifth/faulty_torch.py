"""Faulty flows of plain torch: wrong code of a layer or of the flow around the layers."""

from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.diagnosis.blind.cases import Case
from benchmarks.diagnosis.blind.fifth.layers import (
    SIDE,
    FirstBatch,
    Planar,
    RowByRow,
    RunningNorm,
    Triangles,
    around,
    coupled,
    train_soon,
)
from benchmarks.diagnosis.blind.plain import Affine, Coupling, Layer, PlainFlow
from benchmarks.diagnosis.blind.training import train


class ScaleFirst(Coupling):
    """https://github.com/chrischute/real-nvp/issues/15: in which order does the inverse scale and shift?"""

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self.parameters_given(z)
        return z * (-log_scale).exp() - shift, -log_scale.sum(1)


class WholeSum(Coupling):
    """The map is written with a mask, the sum of log-scales without one."""

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        raw, shift = self.net(x * self.mask).chunk(2, 1)
        return 2 * torch.tanh(raw / 2), shift

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self._parts(x)
        z = self.mask * x + (1 - self.mask) * (x * log_scale.exp() + shift)
        return z, log_scale.sum(1)

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self._parts(z)
        x = self.mask * z + (1 - self.mask) * (z - shift) * (-log_scale).exp()
        return x, -log_scale.sum(1)


class FullTriangles(Triangles):
    """Both factors have a learned diagonal."""

    def factors(self) -> tuple[Tensor, Tensor]:
        return self.lower.tril(), self.upper.triu()


class RowsButOne(RowByRow):
    """A loop that is one step too short."""

    def rows_to_invert(self) -> range:
        return range(SIDE - 1)


class EveryFirstBatch(Affine):
    """https://github.com/rosinality/glow-pytorch/issues/6, https://github.com/bayesiains/nflows/issues/4."""

    take = FirstBatch.take

    def __init__(self) -> None:
        super().__init__()
        self.is_set = False

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if not self.is_set:
            self.take(x)
            self.is_set = True
        return super().forward_and_log_det(x)


class BatchMoments(RunningNorm):
    """Moments are always those of the batch, and the inverse takes those of the last one.

    https://github.com/ikostrikov/pytorch-flows/issues/8 is about what the inverse takes.
    """

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        var, mean = torch.var_mean(x, 0)
        self.mean.copy_(mean.detach())
        self.var.copy_(var.detach())
        return mean, var


class FreePlanar(Planar):
    """https://github.com/ex4sperans/variational-inference-with-normalizing-flows/issues/2: any u is taken."""

    def direction(self) -> Tensor:
        return self.u


class ListedFlow(PlainFlow):
    """A flow that keeps its couplings in a list of Python's."""

    def __init__(self) -> None:
        super().__init__([FirstBatch()])
        self.couplings: list[Layer] = [Coupling(i % 2) for i in range(4)]

    def _maps(self) -> list[Layer]:
        return [*super()._maps(), *self.couplings]


class FrugalFlow(PlainFlow):
    """A flow that sums log-determinants as plain numbers."""

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z, total = x.flatten(1), x.new_zeros(len(x))
        for layer in self._maps():
            z, log_det = layer.forward_and_log_det(z)
            total += log_det.detach()
        return z, total


def frugal() -> FrugalFlow:
    """Build couplings and scales in such a flow."""
    layers: list[nn.Module] = [FirstBatch(), Coupling(0), Affine(), Coupling(1), Affine()]
    return FrugalFlow(layers)


def planes(plane: type[Planar]) -> PlainFlow:
    """Build six planar layers."""
    return around(*(plane() for _ in range(6)))


FAULTY_TORCH: dict[str, Case] = {
    "pairs_second": Case(partial(coupled, ScaleFirst), weights="pairs_first"),
    "pairs_sum": Case(partial(coupled, WholeSum), train_soon),
    "triangles_two": Case(lambda: around(FullTriangles(), Coupling(0), FullTriangles(), Coupling(1)), train_soon),
    "rows_recurrent": Case(lambda: around(RowsButOne()), weights="rows_read"),
    "norms_loaded": Case(partial(coupled, norm=EveryFirstBatch), train_soon),
    "norms_of_batches": Case(partial(coupled, norm=BatchMoments), train_soon),
    "planes_six": Case(partial(planes, FreePlanar), train_soon),
    "pairs_listed": Case(ListedFlow, train_soon),
    "pairs_frugal": Case(frugal, partial(train, n_steps=150, lr=5e-3)),
}
