"""Healthy flows of plain torch."""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.diagnosis.blind.builders import DIMS
from benchmarks.diagnosis.blind.cases import Case
from benchmarks.diagnosis.blind.fifth.faulty_torch import planes
from benchmarks.diagnosis.blind.fifth.layers import (
    SIDE,
    Planar,
    RowByRow,
    Triangles,
    around,
    coupled,
    train_soon,
)
from benchmarks.diagnosis.blind.plain import Coupling, Layer, Ode
from benchmarks.diagnosis.blind.training import train


class Leapfrog(Layer):
    """Even pixels are places and odd ones momenta of a motion in a learned potential; its steps keep the volume.

    Args:
        n_steps: Number of steps.
    """

    def __init__(self, n_steps: int = 3) -> None:
        super().__init__()
        self.n_steps = n_steps
        self.proj, self.charge = nn.Linear(DIMS // 2, 64), nn.Parameter(torch.zeros(64))
        self.log_mass = nn.Parameter(torch.zeros(DIMS // 2))

    def _slope(self, place: Tensor) -> Tensor:
        return (self.charge * torch.sigmoid(self.proj(place))) @ self.proj.weight

    def _moved(self, x: Tensor, step: float) -> tuple[Tensor, Tensor]:
        place, momentum = x[:, ::2], x[:, 1::2]
        for _ in range(self.n_steps):
            momentum = momentum - step / 2 * self._slope(place)
            place = place + step * momentum * (-self.log_mass).exp()
            momentum = momentum - step / 2 * self._slope(place)
        return torch.stack([place, momentum], 2).flatten(1), x.new_zeros(len(x))

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._moved(x, 0.2)

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self._moved(z, -0.2)


class Exponentials(Layer):
    """The exponential of a matrix for the rows of an image and of one for its columns."""

    def __init__(self) -> None:
        super().__init__()
        self.rows, self.columns = (nn.Parameter(0.05 * torch.randn(SIDE, SIDE)) for _ in range(2))

    def _mixed(self, x: Tensor, sign: int) -> tuple[Tensor, Tensor]:
        rows, columns = (torch.linalg.matrix_exp(sign * m) for m in (self.rows, self.columns))
        log_det = sign * SIDE * (self.rows.trace() + self.columns.trace())
        return (rows @ x.unflatten(1, (SIDE, SIDE)) @ columns).flatten(1), log_det.expand(len(x))

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._mixed(x, 1)

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self._mixed(z, -1)


class SinhArcsinh(Layer):
    """``z = sinh(d arcsinh(x) + e)`` of each element, which changes its tails and its skewness."""

    def __init__(self) -> None:
        super().__init__()
        self.log_tail, self.skew = nn.Parameter(torch.zeros(DIMS)), nn.Parameter(torch.zeros(DIMS))

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        inner = self.log_tail.exp() * torch.asinh(x) + self.skew
        return torch.sinh(inner), self._log_det(x, inner)

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        inner = torch.asinh(z)
        x = torch.sinh((inner - self.skew) * (-self.log_tail).exp())
        return x, -self._log_det(x, inner)

    def _log_det(self, x: Tensor, inner: Tensor) -> Tensor:
        log_cosh = inner.abs() + F.softplus(-2 * inner.abs())  # and log 2, which both terms have
        slope = -0.5 * torch.log1p(x.square())
        return (self.log_tail + log_cosh - torch.log(torch.tensor(2.0)).to(x) + slope).sum(1)


HEALTHY_TORCH: dict[str, Case] = {
    "pairs_first": Case(coupled, train_soon),
    "triangles_one": Case(lambda: around(Triangles(), Coupling(0), Triangles(), Coupling(1)), train_soon),
    "rows_read": Case(lambda: around(RowByRow()), train_soon),
    "planes_bent": Case(partial(planes, Planar), train_soon),
    "motion_pairs": Case(lambda: around(Ode(10), Coupling(0), Coupling(1)), partial(train, n_steps=60, lr=3e-3)),
    "leapfrog": Case(lambda: around(Leapfrog(), Leapfrog()), train_soon),
    "exponentials": Case(lambda: around(Exponentials(), SinhArcsinh(), Exponentials()), train_soon),
}
