"""Healthy flows of plain torch."""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.diagnosis.blind.builders import DIMS
from benchmarks.diagnosis.blind.cases import Case
from benchmarks.diagnosis.blind.plain import Affine, Coupling, Layer, PlainFlow, perceptron
from benchmarks.diagnosis.blind.third.faulty_torch import SavedPowerIterated, couplings, squeezed
from benchmarks.diagnosis.blind.third.layers import EstimatedOde, Mixing, Planar, Standardised, train_quickly
from benchmarks.diagnosis.blind.training import train, train_longer

N_ROWS = N_COLUMNS = 28


class MixtureCoupling(Coupling):
    """Flow++'s coupling (Ho et al. 2019) of a mixture of logistics; its inverse halves an interval.

    Args:
        parity: Which of the dimensions pass unchanged.
        n_components: Number of logistics.
    """

    n_halvings = 50

    def __init__(self, parity: int, n_components: int = 3) -> None:
        super().__init__(parity)
        self.net = perceptron(DIMS, 3 * n_components * DIMS, 32)
        self.spread = nn.Parameter(torch.linspace(-1, 1, n_components)[:, None])

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z, log_slope = self._map(x, self._mixture(x))
        return torch.where(self.mask > 0, x, z), ((1 - self.mask) * log_slope).sum(1)

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        mixture = self._mixture(z)
        low, high = torch.full_like(z, -60.0), torch.full_like(z, 60.0)
        for _ in range(self.n_halvings):
            middle = (low + high) / 2
            is_below = self._map(middle, mixture)[0] < z
            low, high = torch.where(is_below, middle, low), torch.where(is_below, high, middle)
        x = torch.where(self.mask > 0, z, (low + high) / 2)
        return x, -((1 - self.mask) * self._map(x, mixture)[1]).sum(1)

    def _mixture(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        weights, means, log_scales = self.net(x * self.mask).unflatten(1, (3, -1, DIMS)).unbind(1)
        return weights.log_softmax(1), means + self.spread, log_scales

    def _map(self, x: Tensor, mixture: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the logit of the distribution function, and the logarithm of its slope."""
        log_weight, mean, log_scale = mixture
        u = (x[:, None] - mean) * (-log_scale).exp()
        below = (log_weight + F.logsigmoid(u)).logsumexp(1)
        above = (log_weight + F.logsigmoid(-u)).logsumexp(1)
        log_density = (log_weight - log_scale + F.logsigmoid(u) + F.logsigmoid(-u)).logsumexp(1)
        return below - above, log_density - below - above


class Woodbury(Layer):
    """``z = x + V W x`` with few rows in W (Lu and Huang 2020, "Woodbury transformations")."""

    def __init__(self, rank: int = 8) -> None:
        super().__init__()
        self.out = nn.Parameter(0.01 * torch.randn(DIMS, rank))
        self.into = nn.Parameter(torch.randn(rank, DIMS) / DIMS**0.5)

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x + x @ self.into.T @ self.out.T, torch.linalg.slogdet(self._inner()).logabsdet.expand(len(x))

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        hidden = torch.linalg.solve(self._inner(), (z @ self.into.T).T).T
        return z - hidden @ self.out.T, -torch.linalg.slogdet(self._inner()).logabsdet.expand(len(z))

    def _inner(self) -> Tensor:
        return torch.eye(len(self.into), dtype=self.into.dtype) + self.into @ self.out


class Reflections(Layer):
    """A product of learned Householder reflections; the volume stays."""

    def __init__(self, n: int = 6) -> None:
        super().__init__()
        self.normals = nn.Parameter(torch.randn(n, DIMS))

    def _reflect(self, x: Tensor, normals: Tensor) -> tuple[Tensor, Tensor]:
        for normal in F.normalize(normals, dim=1):
            x = x - 2 * (x @ normal)[:, None] * normal
        return x, x.new_zeros(len(x))

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._reflect(x, self.normals)

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self._reflect(z, self.normals.flip(0))


class RowByRow(Layer):
    """An autoregression of rows: a recurrent network tells scales and shifts of a row from the rows above it."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.GRUCell(N_COLUMNS, 48), nn.Linear(48, 2 * N_COLUMNS)
        nn.init.normal_(self.head.weight, std=0.01)

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._run(x, is_inverse=False)

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self._run(z, is_inverse=True)

    def _run(self, values: Tensor, is_inverse: bool) -> tuple[Tensor, Tensor]:
        state, results, log_scales = values.new_zeros(len(values), 48), [], []
        for row in values.unflatten(1, (N_ROWS, N_COLUMNS)).unbind(1):
            raw, shift = self.head(state).chunk(2, 1)
            log_scale = 2 * torch.tanh(raw / 2)
            result = (row - shift) * (-log_scale).exp() if is_inverse else row * log_scale.exp() + shift
            state = self.cell(result if is_inverse else row, state)
            results.append(result)
            log_scales.append(log_scale.sum(1))
        log_det = torch.stack(log_scales).sum(0)
        return torch.cat(results, 1), -log_det if is_inverse else log_det


class SinhArcsinh(Layer):
    """``sinh(d arcsinh(x) - e)`` of each element (Jones and Pewsey 2009)."""

    def __init__(self) -> None:
        super().__init__()
        self.log_delta, self.epsilon = nn.Parameter(torch.zeros(DIMS)), nn.Parameter(torch.zeros(DIMS))

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.log_delta.exp() * torch.asinh(x) - self.epsilon
        return torch.sinh(y), self._log_det(x, y)

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        y = torch.asinh(z)
        x = torch.sinh((y + self.epsilon) * (-self.log_delta).exp())
        return x, -self._log_det(x, y)

    def _log_det(self, x: Tensor, y: Tensor) -> Tensor:
        return (torch.cosh(y).log() + self.log_delta - 0.5 * torch.log1p(x.square())).sum(1)


def reflected() -> PlainFlow:
    """Build couplings with reflections between them."""
    layers = [layer for i in range(3) for layer in (Standardised(), Reflections(), Coupling(i % 2))]
    return PlainFlow(layers)


def arcsinh() -> PlainFlow:
    """Build couplings between maps of single elements."""
    return PlainFlow([Standardised(), SinhArcsinh(), Coupling(0), Coupling(1), SinhArcsinh()])


def mixtures() -> PlainFlow:
    """Build couplings of mixtures."""
    return PlainFlow([Standardised(), MixtureCoupling(0), MixtureCoupling(1), Affine()])


HEALTHY_TORCH: dict[str, Case] = {
    "squeezed_three": Case(partial(squeezed, Mixing), train_quickly),
    "standardised_four": Case(couplings, train_longer),
    "couplings_new": Case(couplings),
    "planar_new": Case(lambda: PlainFlow([Standardised(), *(Planar() for _ in range(4))]), train_quickly),
    "ode_probes": Case(lambda: PlainFlow([Standardised(), EstimatedOde(), Affine()]), train_quickly),
    "residual_saved": Case(
        lambda: PlainFlow([Standardised(), SavedPowerIterated(), SavedPowerIterated()]), train_quickly
    ),
    "mixture_pair": Case(
        lambda: PlainFlow([Standardised(), MixtureCoupling(0), MixtureCoupling(1), Affine()]),
        partial(train, n_steps=80),
    ),
    "woodbury": Case(
        lambda: PlainFlow([Standardised(), Woodbury(), Coupling(0), Woodbury(), Coupling(1)]), train_quickly
    ),
    "reflected": Case(reflected, train_quickly),
    "rows_recurrent": Case(lambda: PlainFlow([Standardised(), RowByRow(), Affine()]), train_quickly),
    "sinh": Case(arcsinh, train_quickly),
}
