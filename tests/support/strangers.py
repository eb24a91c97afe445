"""Tiny flows as somebody else writes them, healthy and with the mistakes that people make."""

import math

import torch
from torch import Tensor, nn

from nf_mnist.bijectors import Bijector, Flatten, Logit, Sequential
from nf_mnist.diagnostics import Batch, DiagnosisTask
from nf_mnist.flows import Flow

SIDE, DIMS = 4, 16


def images(n: int = 60, seed: int = 0) -> Batch:
    """Return dithered images of 4 x 4 independent greys."""
    generator = torch.Generator().manual_seed(seed)
    levels = torch.randint(256, (n, 1, SIDE, SIDE), generator=generator, dtype=torch.uint8)
    x = (levels + torch.rand(levels.shape, generator=generator)) / 256
    return Batch(x, torch.full((n,), DIMS * math.log(256)), levels, None)


def task_of(*layers: nn.Module, **given: object) -> DiagnosisTask:
    """Return a flow of a logit, flattened, and the given layers of 16 numbers, as a task."""
    return DiagnosisTask(flow_of(*layers), images(), images(seed=1), **given)


def flow_of(*layers: nn.Module) -> Flow:
    """Return a flow of a logit, flattened, and the given layers of 16 numbers."""
    return Flow(Sequential([Logit(0.05), Flatten((1, SIDE, SIDE)), *layers]), (1, SIDE, SIDE)).eval()


def network(outputs: int = DIMS, seed: int = 0, deviation: float = 0.3) -> nn.Sequential:
    """Return a small network with weights that no initialization draws."""
    net = nn.Sequential(nn.Linear(DIMS, 32), nn.Tanh(), nn.Linear(32, outputs))
    generator = torch.Generator().manual_seed(seed)
    for value in net.parameters():
        value.data = deviation * torch.randn(value.shape, generator=generator) ** 3
    return net


class Coupling(Bijector):
    """An affine coupling; its mistakes are subclasses."""

    def __init__(self, seed: int = 0, deviation: float = 0.3) -> None:
        super().__init__()
        self.net = network(2 * DIMS, seed, deviation)
        self.register_buffer("mask", (torch.arange(DIMS) % 2 == seed % 2).float())

    def seen(self, x: Tensor) -> Tensor:
        return x * self.mask

    def parameters_given(self, x: Tensor) -> tuple[Tensor, Tensor]:
        scale, shift = self.net(self.seen(x)).chunk(2, 1)
        return torch.tanh(scale) * (1 - self.mask), shift * (1 - self.mask)

    def forward_and_log_det(self, x, context=None):
        scale, shift = self.parameters_given(x)
        return x * scale.exp() + shift, scale.sum(1)

    def inverse_and_log_det(self, z, context=None):
        scale, shift = self.parameters_given(z)
        return (z - shift) * (-scale).exp(), -scale.sum(1)


class SeesItself(Coupling):
    def seen(self, x):
        mask = self.mask.clone()
        mask[mask.argmin()] = 1
        return x * mask


class Matrix(Bijector):
    """A 1x1 convolution of four channels at four places; ``factor`` is the number of places that is counted."""

    places, factor = 4, 4

    def __init__(self, is_initial: bool = True) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        weight = torch.linalg.qr(torch.randn(4, 4, generator=generator))[0]
        self.weight = nn.Parameter(weight if is_initial else weight + 0.3 * torch.rand(4, 4, generator=generator))

    def log_abs_det(self) -> Tensor:
        return torch.linalg.slogdet(self.weight).logabsdet

    def back(self) -> Tensor:
        return torch.linalg.inv(self.weight)

    def forward_and_log_det(self, x, context=None):
        z = x.reshape(-1, self.places, 4) @ self.weight.T
        return z.flatten(1), (self.factor * self.log_abs_det()).expand(len(x))

    def inverse_and_log_det(self, z, context=None):
        x = z.reshape(-1, self.places, 4) @ self.back().T
        return x.flatten(1), -(self.factor * self.log_abs_det()).expand(len(z))


class MatrixWithoutPlaces(Matrix):
    factor = 1


class MatrixOfNegativeDeterminant(Matrix):
    def __init__(self):
        super().__init__(is_initial=False)
        with torch.no_grad():
            if torch.linalg.det(self.weight) > 0:
                self.weight[0] *= -1

    def log_abs_det(self):
        return torch.det(self.weight).log()


class MatrixWithStaleInverse(Matrix):
    def __init__(self):
        super().__init__()
        self.kept = nn.Buffer(torch.linalg.inv(self.weight.detach()))
        with torch.no_grad():
            self.weight += 0.1 * torch.rand(4, 4)

    def back(self):
        return self.kept


class Residual(Bijector):
    """z = x + g(x) with a contraction g, inverted by a number of fixed-point iterations."""

    def __init__(self, n_iterations: int = 200, lipschitz: float = 0.5) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        weight = torch.randn(DIMS, DIMS, generator=generator)
        self.layer = nn.Linear(DIMS, DIMS)
        self.layer.weight.data = lipschitz * weight / torch.linalg.matrix_norm(weight, 2)
        self.n_iterations = n_iterations

    def g(self, x):
        return torch.tanh(self.layer(x))

    def forward_and_log_det(self, x, context=None):
        slope = 1 - self.g(x).square()
        jacobian = torch.eye(DIMS).to(x) + slope[:, :, None] * self.layer.weight
        return x + self.g(x), torch.linalg.slogdet(jacobian).logabsdet

    def inverse_and_log_det(self, z, context=None):
        x = z
        for _ in range(self.n_iterations):
            x = z - self.g(x)
        return x, -self.forward_and_log_det(x)[1]


class EstimatedResidual(Residual):
    """Estimates its log-determinant by a random probe; ``bias`` is added to it."""

    bias = 0.0

    def forward_and_log_det(self, x, context=None):
        z, exact = super().forward_and_log_det(x)
        return z, exact + 0.1 * torch.randn(len(x)).to(x) + self.bias


class BiasedResidual(EstimatedResidual):
    bias = 1.0


class Accumulating(Coupling):
    """Adds its log-determinants up in an attribute and never starts anew."""

    total = 0.0

    def forward_and_log_det(self, x, context=None):
        z, log_det = super().forward_and_log_det(x)
        self.total = self.total + log_det
        return z, self.total


class InPlainList(Bijector):
    def __init__(self):
        super().__init__()
        self.layers = [Coupling(0), Coupling(1)]

    def forward_and_log_det(self, x, context=None):
        total = x.new_zeros(len(x))
        for layer in self.layers:
            x, log_det = layer.forward_and_log_det(x)
            total = total + log_det
        return x, total

    def inverse_and_log_det(self, z, context=None):
        total = z.new_zeros(len(z))
        for layer in reversed(self.layers):
            z, log_det = layer.inverse_and_log_det(z)
            total = total + log_det
        return z, total


class Swapped(Bijector):
    """Calls the decoder forward, as some libraries do."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward_and_log_det(self, x, context=None):
        x, log_det = self.inner.inverse_and_log_det(x.flatten(1))
        return x.flatten(1), log_det

    def inverse_and_log_det(self, z, context=None):
        z, log_det = self.inner.forward_and_log_det(z.reshape(-1, 1, SIDE, SIDE))
        return z.reshape(-1, 1, SIDE, SIDE), log_det


class UnsavedPermutation(Bijector):
    """Draws its order when it is built and keeps it as a plain attribute."""

    def __init__(self):
        super().__init__()
        self.order = torch.randperm(DIMS)

    def forward_and_log_det(self, x, context=None):
        return x[:, self.order], x.new_zeros(len(x))

    def inverse_and_log_det(self, z, context=None):
        return z[:, self.order.argsort()], z.new_zeros(len(z))


class Bounded(Bijector):
    """Stretches values within a bound by 1/4 of their cube, as a spline does; beyond it, it is a shift of slope 1."""

    bound = 1.5

    def forward_and_log_det(self, x, context=None):
        inner = x.clamp(-self.bound, self.bound)
        return inner + inner**3 / 4 + (x - inner), self.slopes(x, inner).log().sum(1)

    def slopes(self, x, inner):
        return torch.where(x.abs() > self.bound, torch.ones_like(x), 1 + 0.75 * inner**2)

    def inverse_and_log_det(self, z, context=None):
        x = z
        edge = self.bound + self.bound**3 / 4
        for _ in range(60):  # Newton's iteration within the bound
            x = x - (x + x**3 / 4 - z.clamp(-edge, edge)) / (1 + 0.75 * x**2)
        x = torch.where(z.abs() > edge, z.sign() * (z.abs() - edge + self.bound), x)
        return x, -self.slopes(x, x.clamp(-self.bound, self.bound)).log().sum(1)


class BoundedWithWrongTails(Bounded):
    def slopes(self, x, inner):
        return 1 + 0.75 * inner**2


class Cached(Coupling):
    """Keeps a cache that moves the result in the last digits of float32 after the first call."""

    is_filled = False

    def forward_and_log_det(self, x, context=None):
        z, log_det = super().forward_and_log_det(x)
        self.is_filled, was_filled = True, self.is_filled
        return z * (1 + 2e-7 * was_filled), log_det


class LogDetInFloat32(Coupling):
    """Computes its log-determinant in float32, whatever it is given, and adds a large constant there and back."""

    def forward_and_log_det(self, x, context=None):
        z, log_det = super().forward_and_log_det(x)
        return z, ((log_det.float() + 3000) - 3000).to(x)


class Slow(Coupling):
    """Takes forever under autocast."""

    def forward_and_log_det(self, x, context=None):
        while torch.is_autocast_enabled("cpu"):
            x = x + 0
        return super().forward_and_log_det(x)


class WithoutGradientInEvaluation(Coupling):
    def forward_and_log_det(self, x, context=None):
        with torch.set_grad_enabled(self.training and torch.is_grad_enabled()):
            return super().forward_and_log_det(x)


class LearnedNormal(nn.Module):
    """A base with a learned mean and deviation."""

    def __init__(self):
        super().__init__()
        self.mean = nn.Parameter(torch.linspace(-1, 1, DIMS))
        self.log_std = nn.Parameter(torch.linspace(-0.5, 0.5, DIMS))

    def log_prob(self, z):
        return torch.distributions.Normal(self.mean, self.log_std.exp()).log_prob(z).sum(1)

    def sample(self, n, generator=None):
        return (self.mean + self.log_std.exp() * torch.randn(n, DIMS, generator=generator)).detach()
