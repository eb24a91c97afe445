"""Layers of plain torch and builders that the third set uses; those in this file are right."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.diagnosis.blind.builders import DIMS, SHAPE
from benchmarks.diagnosis.blind.plain import Layer, perceptron
from benchmarks.diagnosis.blind.training import train
from nf_mnist.bijectors import ActNorm, Bijector, Flatten, Logit, Sequential
from nf_mnist.flows import Flow

N_CHANNELS, N_PIXELS = 4, 196
train_quickly = partial(train, n_steps=160, lr=2e-3)
Velocity = Callable[[Tensor, float], tuple[Tensor, Tensor]]


def on_vectors(*layers: Bijector, n_classes: int = 0, alpha: float = 1e-5, base: nn.Module | None = None) -> Flow:
    """Build a flow of images from layers on vectors, after a logit and a normalisation."""
    flow = Flow(Sequential([Logit(alpha), Flatten(SHAPE), ActNorm((DIMS,)), *layers]), SHAPE, n_classes)
    if base is not None:
        flow.add_module("base", base)
    return flow


class Net(nn.Module):
    """A perceptron whose output is small at first, and which may be given a context, as nflows does.

    Args:
        n_in: Size of the input.
        n_out: Size of the output.
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.inner = perceptron(n_in, n_out, 48)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Map vectors to parameters."""
        return self.inner(x)


class Squeezed(Layer):
    """Sort the pixels of an image by their place in blocks of 2x2."""

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return F.pixel_unshuffle(x.reshape(-1, *SHAPE), 2).flatten(1), x.new_zeros(len(x))

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return F.pixel_shuffle(z.reshape(-1, N_CHANNELS, 14, 14), 2).flatten(1), z.new_zeros(len(z))


class Mixing(Layer):
    """A learned 4x4 matrix that mixes the channels of a squeezed image, as in Glow."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linalg.qr(torch.randn(N_CHANNELS, N_CHANNELS)).Q)

    def log_det_of_pixel(self) -> Tensor:
        """Return the log-determinant of the matrix."""
        return torch.linalg.slogdet(self.weight).logabsdet

    def inverse_matrix(self) -> Tensor:
        """Return the inverse of the matrix."""
        return torch.linalg.inv(self.weight)

    def mixed(self, matrix: Tensor, x: Tensor) -> Tensor:
        """Multiply each pixel by a matrix."""
        return (matrix @ x.unflatten(1, (N_CHANNELS, N_PIXELS))).flatten(1)

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.mixed(self.weight, x), (N_PIXELS * self.log_det_of_pixel()).expand(len(x))

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self.mixed(self.inverse_matrix(), z), -(N_PIXELS * self.log_det_of_pixel()).expand(len(z))


class Standardised(Layer):
    """A scale and shift of each dimension, taken from the first training batch and trained from then on."""

    is_set: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.log_scale, self.shift = nn.Parameter(torch.zeros(DIMS)), nn.Parameter(torch.zeros(DIMS))
        self.register_buffer("is_set", torch.tensor(False))

    def needs_statistics(self) -> bool:
        """Whether scale and shift are to be taken from the next batch."""
        return self.training and not self.is_set

    @torch.no_grad()
    def take_statistics(self, x: Tensor) -> None:
        """Take scale and shift from a batch."""
        std, mean = torch.std_mean(x, 0)
        self.log_scale.copy_(-(std + 1e-3).log())
        self.shift.copy_(-mean)
        self.is_set.fill_(True)

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.needs_statistics():
            self.take_statistics(x)
        return (x + self.shift) * self.log_scale.exp(), self.log_scale.sum().expand(len(x))

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return z * (-self.log_scale).exp() - self.shift, -self.log_scale.sum().expand(len(z))


class Planar(Layer):
    """``z = x + u tanh(w x + b)`` (Rezende and Mohamed 2015); the inverse halves an interval for ``w x``."""

    n_halvings = 60

    def __init__(self) -> None:
        super().__init__()
        self.u, self.w = nn.Parameter(0.3 * torch.randn(DIMS)), nn.Parameter(0.3 * torch.randn(DIMS))
        self.b = nn.Parameter(torch.zeros(()))

    def direction(self) -> Tensor:
        """Return u with ``w u > -1``, without which there is no inverse."""
        inner = self.w @ self.u
        return self.u + (F.softplus(inner) - 1 - inner) * self.w / self.w.square().sum()

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        u = self.direction()
        h = torch.tanh(x @ self.w + self.b)
        return x + h[:, None] * u, (1 + (1 - h.square()) * (self.w @ u)).abs().log()

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        u = self.direction()
        target, slope = z @ self.w, self.w @ u
        low, high = target - slope.abs(), target + slope.abs()
        for _ in range(self.n_halvings):
            middle = (low + high) / 2
            is_below = middle + slope * torch.tanh(middle + self.b) < target
            low, high = torch.where(is_below, middle, low), torch.where(is_below, high, middle)
        x = z - torch.tanh((low + high) / 2 + self.b)[:, None] * u
        return x, -self.forward_and_log_det(x)[1]


def solve(velocity: Velocity, x: Tensor, begin: float, end: float, n_steps: int = 8) -> tuple[Tensor, Tensor]:
    """Integrate a velocity by Runge and Kutta's method; return x at the end and the integral of the divergence."""
    step, total = (end - begin) / n_steps, x.new_zeros(len(x))
    for i in range(n_steps):
        t = begin + i * step
        v1, d1 = velocity(x, t)
        v2, d2 = velocity(x + step / 2 * v1, t + step / 2)
        v3, d3 = velocity(x + step / 2 * v2, t + step / 2)
        v4, d4 = velocity(x + step * v3, t + step)
        x = x + step / 6 * (v1 + 2 * v2 + 2 * v3 + v4)
        total = total + step / 6 * (d1 + 2 * d2 + 2 * d3 + d4)
    return x, total


class EstimatedOde(Layer):
    """The flow of a perceptron's velocity, whose divergence is estimated with one random vector for each solution."""

    def __init__(self) -> None:
        super().__init__()
        self.proj_in, self.time, self.proj_out = nn.Linear(DIMS, 64), nn.Parameter(torch.randn(64)), nn.Linear(64, DIMS)
        nn.init.normal_(self.proj_out.weight, std=0.01)

    def probe(self, x: Tensor) -> Tensor:
        """Draw vectors e with ``E e e^T = 1`` (Hutchinson 1990)."""
        return torch.randint_like(x, 2) * 2 - 1

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return solve(self._velocity(self.probe(x)), x, 0.0, 1.0)

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return solve(self._velocity(self.probe(z)), z, 1.0, 0.0)

    def _velocity(self, probe: Tensor) -> Velocity:
        def velocity(x: Tensor, t: float) -> tuple[Tensor, Tensor]:
            hidden = torch.tanh(self.proj_in(x) + t * self.time)
            moved = F.linear((1 - hidden.square()) * F.linear(probe, self.proj_in.weight), self.proj_out.weight)
            return self.proj_out(hidden), (probe * moved).sum(1)

        return velocity
