"""Layers and builders that the fifth set uses; those in this file are right."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.diagnosis.blind.builders import DIMS
from benchmarks.diagnosis.blind.cases import training_and_validation
from benchmarks.diagnosis.blind.plain import Affine, Coupling, Layer, PlainFlow
from benchmarks.diagnosis.blind.training import train
from nf_mnist.data import UniformDequantizer, draw_noise

SIDE = 28
train_soon = partial(train, n_steps=120, lr=3e-3)


def dithered(n: int) -> Tensor:
    """Return dithered training images, shape (n, 1, 28, 28)."""
    levels = training_and_validation()[0].levels[:n]
    return UniformDequantizer()(levels, draw_noise(levels))[0]


class FirstBatch(Affine):
    """A scale and shift of each dimension, taken from the first training batch and learned from then on."""

    is_set: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("is_set", torch.tensor(False))

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.training and not self.is_set:
            self.take(x)
            self.is_set.fill_(True)
        return super().forward_and_log_det(x)

    @torch.no_grad()
    def take(self, x: Tensor) -> None:
        """Give each dimension of a batch mean 0 and deviation 1."""
        std, mean = torch.std_mean(x, 0)
        self.log_scale.copy_(-(std + 1e-2).log())
        self.shift.copy_(-mean)


class Triangles(Layer):
    """A learned matrix for the columns of an image, the same in every row, as a product of two triangular ones."""

    def __init__(self) -> None:
        super().__init__()
        self.lower, self.upper = nn.Parameter(torch.eye(SIDE)), nn.Parameter(torch.eye(SIDE))

    def factors(self) -> tuple[Tensor, Tensor]:
        """Return both factors; the first one has a diagonal of ones."""
        return self.lower.tril(-1) + torch.eye(SIDE).to(self.lower), self.upper.triu()

    def log_det(self) -> Tensor:
        """Return the log-determinant of an image."""
        return SIDE * self.upper.diagonal().abs().log().sum()

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        lower, upper = self.factors()
        return (x.unflatten(1, (SIDE, SIDE)) @ (lower @ upper)).flatten(1), self.log_det().expand(len(x))

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        lower, upper = self.factors()
        x = torch.linalg.solve(lower @ upper, z.unflatten(1, (SIDE, SIDE)), left=False)
        return x.flatten(1), -self.log_det().expand(len(z))


class RowByRow(Layer):
    """A recurrent network reads the rows from the top and tells scales and shifts of the next one."""

    def __init__(self, hidden: int = 48) -> None:
        super().__init__()
        self.cell, self.head = nn.GRUCell(SIDE, hidden), nn.Linear(hidden, 2 * SIDE)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def told(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return log-scale and shift of a row, given the state of the network."""
        raw, shift = self.head(state).chunk(2, 1)
        return 2 * torch.tanh(raw / 2), shift

    def start(self, x: Tensor) -> Tensor:
        """Return the state before the first row."""
        return x.new_zeros(len(x), self.cell.hidden_size)

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        state, rows, total = self.start(x), [], x.new_zeros(len(x))
        for row in x.unflatten(1, (SIDE, SIDE)).unbind(1):
            log_scale, shift = self.told(state)
            rows.append(row * log_scale.exp() + shift)
            state, total = self.cell(row, state), total + log_scale.sum(1)
        return torch.cat(rows, 1), total

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        x, state, total = torch.zeros_like(z).unflatten(1, (SIDE, SIDE)), self.start(z), z.new_zeros(len(z))
        for i in self.rows_to_invert():
            log_scale, shift = self.told(state)
            row = (z.unflatten(1, (SIDE, SIDE))[:, i] - shift) * (-log_scale).exp()
            x[:, i] = row
            state, total = self.cell(row, state), total - log_scale.sum(1)
        return x.flatten(1), total

    def rows_to_invert(self) -> range:
        """Return the rows in the order of the inverse."""
        return range(SIDE)


class Planar(Layer):
    """``z = x + u tanh(w x + b)`` with ``w u > -1``, whose inverse halves an interval of ``w x + b``."""

    n_halvings = 80

    def __init__(self, spread: float = 0.25) -> None:
        super().__init__()
        self.w, self.u = nn.Parameter(spread * torch.randn(DIMS)), nn.Parameter(spread * torch.randn(DIMS))
        self.b = nn.Parameter(torch.zeros(()))

    def direction(self) -> Tensor:
        """Return u, changed along w so that the map is monotone (Rezende and Mohamed 2015, appendix A.1)."""
        along = self.w @ self.u
        return self.u + (F.softplus(along) - 1 - along) * self.w / self.w.square().sum()

    def _log_det(self, a: Tensor, slope: Tensor) -> Tensor:
        return (1 + (1 - torch.tanh(a).square()) * slope).abs().log()

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        u, a = self.direction(), x @ self.w + self.b
        return x + torch.tanh(a)[:, None] * u, self._log_det(a, self.w @ u)

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        u, wanted = self.direction(), z @ self.w + self.b
        slope = self.w @ u
        low, high = wanted - slope.abs(), wanted + slope.abs()
        for _ in range(self.n_halvings):
            middle = (low + high) / 2
            is_below = middle + slope * torch.tanh(middle) < wanted
            low, high = torch.where(is_below, middle, low), torch.where(is_below, high, middle)
        a = (low + high) / 2
        return z - torch.tanh(a)[:, None] * u, -self._log_det(a, slope)


class RunningNorm(Layer):
    """Batch normalisation: moments of the batch in training, running ones afterwards."""

    mean: Tensor
    var: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(DIMS))
        self.register_buffer("var", torch.ones(DIMS))

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and variance that the forward pass takes."""
        if not self.training:
            return self.mean, self.var
        var, mean = torch.var_mean(x, 0)
        self.mean.lerp_(mean.detach(), 0.1)
        self.var.lerp_(var.detach(), 0.1)
        return mean, var

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, var = self.moments(x)
        return (x - mean) / (var + 1e-3).sqrt(), -0.5 * (var + 1e-3).log().sum().expand(len(x))

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return z * (self.var + 1e-3).sqrt() + self.mean, 0.5 * (self.var + 1e-3).log().sum().expand(len(z))


def coupled(
    coupling: Callable[[int], Layer] = Coupling, n: int = 4, norm: Callable[[], Layer] = FirstBatch
) -> PlainFlow:
    """Build couplings, each after a normalisation."""
    return PlainFlow([layer for i in range(n) for layer in (norm(), coupling(i % 2))])


def around(*layers: Layer) -> PlainFlow:
    """Build layers between a normalisation and a scale and shift of each dimension."""
    return PlainFlow([FirstBatch(), *layers, Affine()])
