"""Faulty flows of plain torch modules."""

import math
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.diagnosis.blind.cases import Case
from benchmarks.diagnosis.blind.plain import (
    DIMS,
    Affine,
    Coupling,
    Layer,
    Ode,
    PlainFlow,
    Residual,
    ToLogits,
    perceptron,
)
from benchmarks.diagnosis.blind.training import train, train_briefly


def with_couplings(*layers: nn.Module, first: nn.Module | None = None) -> PlainFlow:
    """Build a flow whose given layers lie between healthy ones."""
    return PlainFlow([Affine(), Coupling(0), *layers, Coupling(1), Affine()], first)


class LeakyReLU(Layer):
    """The log-determinant counts the slope on the wrong side of 0."""

    slope = 0.3

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.where(x > 0, x, self.slope * x), math.log(self.slope) * (x > 0).to(x).sum(1)

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return torch.where(z > 0, z, z / self.slope), -math.log(self.slope) * (z > 0).to(z).sum(1)


class Log2Affine(Affine):
    """The log-determinant is in bits, all others in nats."""

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z, _ = super().forward_and_log_det(x)
        return z, self.log_scale.exp().log2().sum().expand(len(x))

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        x, _ = super().inverse_and_log_det(z)
        return x, -self.log_scale.exp().log2().sum().expand(len(z))


class LinearSplines(Layer):
    """Piecewise linear maps of one half of the dimensions, given the other; widths of bins do not add up to the range.

    Each width is a sigmoid of its own, where a softmax over the bins was meant.
    """

    n_bins, bound = 8, 8.0

    def __init__(self) -> None:
        super().__init__()
        self.net = perceptron(DIMS // 2, DIMS // 2 * 2 * self.n_bins, 32)

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._map(x, is_inverse=False)

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self._map(z, is_inverse=True)

    def _map(self, values: Tensor, is_inverse: bool) -> tuple[Tensor, Tensor]:
        kept, moved = values.chunk(2, 1)
        widths, heights = self.net(kept).reshape(len(values), DIMS // 2, 2, self.n_bins).unbind(2)
        widths = 2 * self.bound * 2 / self.n_bins * widths.sigmoid()
        heights = 2 * self.bound * heights.softmax(2)
        sides = (heights, widths) if is_inverse else (widths, heights)
        edges, ends = (F.pad(side.cumsum(2), (1, 0)) - self.bound for side in sides)
        inside = moved.abs() < self.bound
        index = torch.searchsorted(edges[..., 1:-1].contiguous(), moved[..., None].contiguous())
        left, bottom = edges.gather(2, index), ends.gather(2, index)
        slope = sides[1].gather(2, index) / sides[0].gather(2, index)
        bent = (bottom + slope * (moved[..., None] - left))[..., 0]
        log_slope = torch.where(inside, slope[..., 0].log(), 0.0)
        return torch.cat([kept, torch.where(inside, bent, moved)], 1), log_slope.sum(1)


class RoundedLogits(ToLogits):
    """Divides whole levels: the dither is thrown away by an integer division in the model's own preprocessing."""

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward_and_log_det(((256 * x).floor() + 0.5) / 256)


class Autoregression(Layer):
    """A masked autoregressive map, whose inverse stops one dimension before the last."""

    below: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("below", torch.ones(DIMS, DIMS).tril(-1))
        self.shift = nn.Parameter(0.01 * torch.randn(DIMS, DIMS))
        self.scale = nn.Parameter(0.01 * torch.randn(DIMS, DIMS))
        self.bias = nn.Parameter(torch.zeros(2, DIMS))

    def _given(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_scale = torch.tanh(F.linear(torch.tanh(x), self.scale * self.below, self.bias[0]))
        return log_scale, F.linear(x, self.shift * self.below, self.bias[1])

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self._given(x)
        return x * log_scale.exp() + shift, log_scale.sum(1)

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.zeros_like(z)
        for i in range(DIMS - 1):
            log_scale = torch.tanh(torch.tanh(x) @ (self.scale * self.below)[i] + self.bias[0, i])
            shift = x @ (self.shift * self.below)[i] + self.bias[1, i]
            x = torch.cat([x[:, :i], ((z[:, i] - shift) * (-log_scale).exp())[:, None], x[:, i + 1 :]], 1)
        return x, -self._given(x)[0].sum(1)


class NormedCoupling(Coupling):
    """Normalises the whole vector before the mask, so that the networks see its mean and size."""

    def __init__(self, parity: int) -> None:
        super().__init__(parity)
        self.norm = nn.LayerNorm(DIMS)

    def parameters_given(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return super().parameters_given(self.norm(x))


class Rotation(Layer):
    """A matrix that is orthogonal at first. It is trained freely, but its inverse is taken to be its transpose."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linalg.qr(torch.randn(DIMS, DIMS)).Q)

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x @ self.weight, x.new_zeros(len(x))

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return z @ self.weight.T, z.new_zeros(len(z))


class BackwardsOde(Ode):
    """The inverse integrates from t = 0 to -1, where it should begin at t = 1."""

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self.integrate(z, 0.0, -1.0)


def unbounded_residual() -> PlainFlow:
    """Build residual blocks whose Lipschitz constant nothing bounds, and which have grown beyond 1."""
    blocks = [Residual(bound=None) for _ in range(2)]
    for block in blocks:
        nn.init.normal_(block.proj_out.weight, std=0.3)
    return PlainFlow([Affine(), *blocks])


def fit_first_half(flow: nn.Module) -> None:
    """Train the first layers only: the optimizer was given a half of the parameters."""
    layers = list(flow.layers)
    train(flow, parameters=[p for layer in layers[: len(layers) // 2] for p in layer.parameters()])


def eight_couplings() -> PlainFlow:
    """Build eight couplings."""
    return PlainFlow([Affine(), *(Coupling(i % 2) for i in range(8))])


FAULTY_TORCH: dict[str, Case] = {
    "leaky_relu_wrong_side": Case(lambda: with_couplings(LeakyReLU())),
    "log2_for_log": Case(lambda: with_couplings(Log2Affine()), train),
    "bins_not_normalised": Case(lambda: with_couplings(LinearSplines())),
    "levels_rounded_in_model": Case(partial(with_couplings, first=RoundedLogits())),
    "autoregressive_inverse_stops_early": Case(lambda: with_couplings(Autoregression()), train_briefly),
    "norm_before_the_mask": Case(lambda: with_couplings(NormedCoupling(0)), train_briefly),
    "optimizer_has_half": Case(eight_couplings, fit_first_half),
    "transpose_for_inverse": Case(lambda: with_couplings(Rotation()), train_briefly),
    "ode_time_not_reversed": Case(lambda: with_couplings(BackwardsOde()), train_briefly),
    "residual_not_contracting": Case(unbounded_residual, train_briefly),
}
