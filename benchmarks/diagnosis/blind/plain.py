"""Layers of plain torch, as many people write them; those in this file are right."""

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

DIMS = 784


class Layer(nn.Module):
    """A map of vectors, shape (batch, 784), with its log-determinant in both directions."""

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map data to latent; return log|det dz/dx|, shape (batch,)."""
        raise NotImplementedError

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map latent to data; return log|det dx/dz|, shape (batch,)."""
        raise NotImplementedError


class PlainFlow(nn.Module):
    """Layers after a flattening and a logit.

    Args:
        layers: Layers from data to latent.
        first: Layer before them; None for a logit.
    """

    def __init__(self, layers: Sequence[nn.Module], first: nn.Module | None = None) -> None:
        super().__init__()
        self.layers = nn.ModuleList([ToLogits() if first is None else first, *layers])

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map images, shape (batch, 1, 28, 28), to vectors."""
        z, total = x.flatten(1), x.new_zeros(len(x))
        for layer in self._maps():
            z, log_det = layer.forward_and_log_det(z)
            total = total + log_det
        return z, total

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map vectors to images."""
        total = z.new_zeros(len(z))
        for layer in reversed(self._maps()):
            z, log_det = layer.inverse_and_log_det(z)
            total = total + log_det
        return z.reshape(-1, 1, 28, 28), total

    def _maps(self) -> list[Layer]:
        return [cast(Layer, layer) for layer in self.layers]


class ToLogits(Layer):
    """The logit of ``a + (1 - 2a) x``."""

    alpha = 1e-5

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        inner = self.alpha + (1 - 2 * self.alpha) * x
        y = inner.log() - torch.log1p(-inner)
        return y, -self._log_det(y)

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return (z.sigmoid() - self.alpha) / (1 - 2 * self.alpha), self._log_det(z)

    def _log_det(self, y: Tensor) -> Tensor:
        return (F.logsigmoid(y) + F.logsigmoid(-y) - math.log(1 - 2 * self.alpha)).sum(1)


class Affine(Layer):
    """A learned scale and shift of each dimension."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale, self.shift = nn.Parameter(torch.zeros(DIMS)), nn.Parameter(torch.zeros(DIMS))

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return (x + self.shift) * self.log_scale.exp(), self.log_scale.sum().expand(len(x))

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return z * (-self.log_scale).exp() - self.shift, -self.log_scale.sum().expand(len(z))


def perceptron(n_in: int, n_out: int, hidden: int = 64) -> nn.Sequential:
    """Build a perceptron whose output is small at first."""
    first, last = nn.Linear(n_in, hidden), nn.Linear(hidden, n_out)
    nn.init.normal_(last.weight, std=0.01)
    nn.init.zeros_(last.bias)
    return nn.Sequential(first, nn.Tanh(), last)


class Coupling(Layer):
    """An affine coupling of one half of the dimensions, given the other.

    Args:
        parity: Which of the dimensions, the even (0) or the odd ones (1), pass unchanged.
    """

    mask: Tensor

    def __init__(self, parity: int) -> None:
        super().__init__()
        self.register_buffer("mask", (torch.arange(DIMS) % 2 == parity).float())
        self.net = perceptron(DIMS, 2 * DIMS)

    def parameters_given(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return log-scale and shift, 0 on the dimensions that pass unchanged."""
        raw, shift = self.net(x * self.mask).chunk(2, 1)
        return (1 - self.mask) * 2 * torch.tanh(raw / 2), (1 - self.mask) * shift

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self.parameters_given(x)
        return x * log_scale.exp() + shift, log_scale.sum(1)

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self.parameters_given(z)
        return (z - shift) * (-log_scale).exp(), -log_scale.sum(1)


class Residual(Layer):
    """``z = x + g(x)`` with a perceptron g of 32 hidden units, whose log-determinant is exact.

    By Sylvester's identity the determinant is that of a matrix of hidden units. The inverse is a fixed point.

    Args:
        bound: Bound of the Lipschitz constant of g; None for none.
        n_iterations: Iterations of the inverse.
    """

    def __init__(self, bound: float | None = 0.8, n_iterations: int = 150) -> None:
        super().__init__()
        self.bound, self.n_iterations = bound, n_iterations
        self.proj_in, self.proj_out = nn.Linear(DIMS, 32), nn.Linear(32, DIMS)

    def _matrices(self) -> tuple[Tensor, Tensor]:
        into, out = self.proj_in.weight, self.proj_out.weight
        if self.bound is None:
            return into, out
        half = self.bound**0.5
        into, out = (half * m / torch.linalg.matrix_norm(m, 2).clamp(min=half) for m in (into, out))
        return into, out

    def _branch(self, x: Tensor) -> tuple[Tensor, Tensor]:
        into, out = self._matrices()
        hidden = torch.tanh(F.linear(x, into, self.proj_in.bias))
        inner = torch.eye(len(into), dtype=x.dtype) + (1 - hidden.square())[:, :, None] * (into @ out)
        return F.linear(hidden, out, self.proj_out.bias), torch.linalg.slogdet(inner).logabsdet

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        g, log_det = self._branch(x)
        return x + g, log_det

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        x = z
        for _ in range(self.n_iterations):
            x = z - self._branch(x)[0]
        return x, -self._branch(x)[1]


class Ode(Layer):
    """The flow of ``dx/dt = v(x, t)`` from t = 0 to 1, by Runge and Kutta's method of fixed steps.

    The divergence of v, a perceptron, is exact.

    Args:
        n_steps: Number of steps.
    """

    def __init__(self, n_steps: int = 8) -> None:
        super().__init__()
        self.n_steps = n_steps
        self.proj_in, self.time = nn.Linear(DIMS, 64), nn.Parameter(torch.randn(64))
        self.proj_out = nn.Linear(64, DIMS)
        nn.init.normal_(self.proj_out.weight, std=0.01)

    def velocity(self, x: Tensor, t: float) -> tuple[Tensor, Tensor]:
        """Return v and its divergence."""
        hidden = torch.tanh(self.proj_in(x) + t * self.time)
        paths = (self.proj_out.weight.T * self.proj_in.weight).sum(1)
        return self.proj_out(hidden), ((1 - hidden.square()) * paths).sum(1)

    def integrate(self, x: Tensor, begin: float, end: float) -> tuple[Tensor, Tensor]:
        """Integrate from one time to another; return x there and the integral of the divergence."""
        step, total = (end - begin) / self.n_steps, x.new_zeros(len(x))
        for i in range(self.n_steps):
            t = begin + i * step
            v1, d1 = self.velocity(x, t)
            v2, d2 = self.velocity(x + step / 2 * v1, t + step / 2)
            v3, d3 = self.velocity(x + step / 2 * v2, t + step / 2)
            v4, d4 = self.velocity(x + step * v3, t + step)
            x = x + step / 6 * (v1 + 2 * v2 + 2 * v3 + v4)
            total = total + step / 6 * (d1 + 2 * d2 + 2 * d3 + d4)
        return x, total

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.integrate(x, 0.0, 1.0)

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self.integrate(z, 1.0, 0.0)
