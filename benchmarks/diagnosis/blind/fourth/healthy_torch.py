"""Healthy flows of plain torch."""

from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.diagnosis.blind.builders import DIMS
from benchmarks.diagnosis.blind.cases import Case
from benchmarks.diagnosis.blind.fourth.layers import Rows, channels, haar
from benchmarks.diagnosis.blind.plain import Affine, Coupling, Layer, Ode, PlainFlow, Residual, perceptron
from benchmarks.diagnosis.blind.third.layers import Standardised, train_quickly
from benchmarks.diagnosis.blind.training import train


class InDouble(Layer):
    """A layer that computes in float64 and returns its results in the dtype of its input.

    Args:
        inner: The layer.
    """

    def __init__(self, inner: Layer) -> None:
        super().__init__()
        self.inner = inner.double()

    def _wide(self, x: Tensor) -> Tensor:
        return x.to(next(self.inner.parameters()).dtype)

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z, log_det = self.inner.forward_and_log_det(self._wide(x))
        return z.to(x), log_det.to(x)

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        x, log_det = self.inner.inverse_and_log_det(self._wide(z))
        return x.to(z), log_det.to(z)


class ToldCoupling(Coupling):
    """A coupling whose network is given, and may be that of others, too.

    Args:
        parity: Which of the dimensions pass unchanged.
        net: The network.
    """

    def __init__(self, parity: int, net: nn.Module) -> None:
        super().__init__(parity)
        self.net = net  # type: ignore[assignment]


class Sines(Layer):
    """``z = x + a sin(w x + b) / w`` of each element with ``|a| < 1``; the inverse halves an interval."""

    n_halvings = 60

    def __init__(self) -> None:
        super().__init__()
        self.raw, self.phase = nn.Parameter(0.5 * torch.randn(DIMS)), nn.Parameter(torch.randn(DIMS))
        self.log_frequency = nn.Parameter(torch.zeros(DIMS))

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        amplitude, frequency = 0.9 * torch.tanh(self.raw), self.log_frequency.exp()
        angle = frequency * x + self.phase
        z = x + amplitude * torch.sin(angle) / frequency
        return z, torch.log1p(amplitude * torch.cos(angle)).sum(1)

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        low, high = z - (-self.log_frequency).exp(), z + (-self.log_frequency).exp()
        for _ in range(self.n_halvings):
            middle = (low + high) / 2
            is_below = self.forward_and_log_det(middle)[0] < z
            low, high = torch.where(is_below, middle, low), torch.where(is_below, high, middle)
        x = (low + high) / 2
        return x, -self.forward_and_log_det(x)[1]


class Cosines(Layer):
    """The orthonormal cosine transform of the rows and columns of an image."""

    matrix: Tensor

    def __init__(self) -> None:
        super().__init__()
        place = torch.arange(28, dtype=torch.float64)
        matrix = torch.cos(torch.pi / 28 * (place + 0.5) * place[:, None]) * (2 / 28) ** 0.5
        matrix[0] /= 2**0.5
        self.register_buffer("matrix", matrix.float())

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        image = x.unflatten(1, (28, 28))
        return (self.matrix @ image @ self.matrix.T).flatten(1), x.new_zeros(len(x))

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        image = z.unflatten(1, (28, 28))
        return (self.matrix.T @ image @ self.matrix).flatten(1), z.new_zeros(len(z))


def one_net() -> PlainFlow:
    """Build four couplings of one network, with a scale of each dimension between them."""
    net = perceptron(DIMS, 2 * DIMS)
    return PlainFlow([layer for i in range(4) for layer in (Standardised(), ToldCoupling(i % 2, net))])


def in_double() -> PlainFlow:
    """Build couplings in float64 between layers in float32."""
    return PlainFlow([Standardised(), InDouble(Coupling(0)), InDouble(Coupling(1)), Affine()])


HEALTHY_TORCH: dict[str, Case] = {
    "haar_four": Case(haar, train_quickly),
    "rows_above": Case(lambda: PlainFlow([Standardised(), Rows(), Affine()]), train_quickly),
    "channels_mixed": Case(channels, train_quickly),
    "ode_fine": Case(lambda: PlainFlow([Standardised(), Ode(16), Affine()]), train_quickly),
    "residual_narrow": Case(lambda: PlainFlow([Standardised(), Residual(0.9), Residual(0.9)]), train_quickly),
    "in_double": Case(in_double, train_quickly),
    "one_net": Case(one_net, train_quickly),
    "sines": Case(lambda: PlainFlow([Standardised(), Sines(), Coupling(0), Sines(), Coupling(1)]), train_quickly),
    "cosines_new": Case(lambda: PlainFlow([Cosines(), Affine(), Coupling(0), Coupling(1)]), partial(train, n_steps=20)),
}
