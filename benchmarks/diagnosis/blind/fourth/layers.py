"""Layers and builders that the fourth set uses; those in this file are right."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.diagnosis.blind.builders import DIMS, HIDDEN, SHAPE
from benchmarks.diagnosis.blind.cases import training_and_validation
from benchmarks.diagnosis.blind.plain import Coupling, Layer, PlainFlow
from benchmarks.diagnosis.blind.third.layers import Mixing, Squeezed, Standardised
from nf_mnist.bijectors import Bijector, Flatten, Logit, Sequential, make_mask
from nf_mnist.data import UniformDequantizer, draw_noise
from nf_mnist.flows import Flow

N_ROWS = N_COLUMNS = 28
N_CHANNELS, N_PIXELS = 4, 196
SQUEEZED = (4, 14, 14)


def dithered(n: int, first: int = 0) -> Tensor:
    """Return dithered training images, shape (n, 1, 28, 28)."""
    levels = training_and_validation()[0].levels[first : first + n]
    return UniformDequantizer()(levels, draw_noise(levels))[0]


def after_logit(*layers: Bijector, alpha: float = 1e-5) -> Flow:
    """Build a flow of images from layers on vectors of logits, which nothing has normalised."""
    return Flow(Sequential([Logit(alpha), Flatten(SHAPE), *layers]), SHAPE)


def turns(n: int) -> list[Tensor]:
    """Return masks of even and odd elements and of halves, in turns."""
    masks = [make_mask("even_odd", (DIMS,)), make_mask("halves", (DIMS,))]
    kept = [masks[i // 2 % 2] for i in range(n)]
    return [1 - mask if i % 2 else mask for i, mask in enumerate(kept)]


class Rows(Layer):
    """A masked autoregression of rows: scales and shifts of a row are told from the rows above it.

    Hidden units have a degree and see the rows up to it; a row sees the hidden units of smaller degree.
    """

    mask_in: Tensor
    mask_out: Tensor

    def __init__(self, n_hidden: int = 135) -> None:
        super().__init__()
        row, degree = torch.arange(DIMS) // N_COLUMNS, torch.arange(n_hidden) % (N_ROWS - 1)
        self.register_buffer("mask_in", (degree[:, None] >= row).float())
        self.register_buffer("mask_out", self.connected(row[:, None], degree).float().repeat(2, 1))
        self.proj_in, self.proj_out = nn.Linear(DIMS, n_hidden), nn.Linear(n_hidden, 2 * DIMS)
        nn.init.normal_(self.proj_out.weight, std=0.01)
        nn.init.zeros_(self.proj_out.bias)

    def connected(self, row: Tensor, degree: Tensor) -> Tensor:
        """Return whether rows see hidden units of given degrees."""
        return row > degree

    def parameters_given(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return log-scales and shifts."""
        hidden = torch.tanh(F.linear(x, self.proj_in.weight * self.mask_in, self.proj_in.bias))
        raw, shift = F.linear(hidden, self.proj_out.weight * self.mask_out, self.proj_out.bias).chunk(2, 1)
        return 2 * torch.tanh(raw / 2), shift

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self.parameters_given(x)
        return x * log_scale.exp() + shift, log_scale.sum(1)

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.zeros_like(z)
        for _ in range(N_ROWS):
            log_scale, shift = self.parameters_given(x)
            x = (z - shift) * (-log_scale).exp()
        return x, -log_scale.sum(1)


class ChannelNorm(Layer):
    """A scale and shift of each channel of a squeezed image, taken from the first training batch."""

    is_set: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.log_scale, self.shift = nn.Parameter(torch.zeros(N_CHANNELS)), nn.Parameter(torch.zeros(N_CHANNELS))
        self.register_buffer("is_set", torch.tensor(False))

    def log_det(self) -> Tensor:
        """Return the log-determinant of an image."""
        return N_PIXELS * self.log_scale.sum()

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        pixels = x.unflatten(1, (N_CHANNELS, N_PIXELS))
        if self.training and not self.is_set:
            with torch.no_grad():
                std, mean = torch.std_mean(pixels, (0, 2))
                self.log_scale.copy_(-std.log())
                self.shift.copy_(-mean)
                self.is_set.fill_(True)
        z = (pixels + self.shift[:, None]) * self.log_scale.exp()[:, None]
        return z.flatten(1), self.log_det().expand(len(x))

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        pixels = z.unflatten(1, (N_CHANNELS, N_PIXELS))
        x = pixels * (-self.log_scale).exp()[:, None] - self.shift[:, None]
        return x.flatten(1), -self.log_det().expand(len(z))


class Haar(Layer):
    """The orthonormal Haar transform of blocks of 2x2 pixels, which is its own inverse."""

    matrix: Tensor

    def __init__(self) -> None:
        super().__init__()
        signs = torch.tensor([[1.0, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]])
        self.register_buffer("matrix", signs / 2)

    def _mixed(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return (self.matrix @ x.unflatten(1, (N_CHANNELS, N_PIXELS))).flatten(1), x.new_zeros(len(x))

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._mixed(x)

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self._mixed(z)


def haar(coupling: Callable[[int], Layer] = Coupling, norm: Callable[[], Layer] = Standardised) -> PlainFlow:
    """Build couplings of wavelet coefficients."""
    return PlainFlow([Squeezed(), Haar(), norm(), *(coupling(i % 2) for i in range(4))])


def channels(norm: Callable[[], Layer] = ChannelNorm) -> PlainFlow:
    """Build couplings, each after a normalisation and a mixing of channels."""
    return PlainFlow([Squeezed(), *(layer for i in range(3) for layer in (norm(), Mixing(), Coupling(i % 2)))])


class Whitening(Bijector):
    """A fixed linear map to uncorrelated elements of variance 1, from the covariance of training images."""

    mean: Tensor
    vectors: Tensor
    values: Tensor
    smallest = 1e-2

    def __init__(self) -> None:
        super().__init__()
        for name, start in (("mean", torch.zeros(DIMS)), ("vectors", torch.eye(DIMS)), ("values", torch.ones(DIMS))):
            self.register_buffer(name, start)

    def take_statistics(self, x: Tensor) -> None:
        """Take mean and covariance from vectors of training images, shape (n, 784)."""
        wide = x.double()
        self.mean.copy_(wide.mean(0))
        values, vectors = torch.linalg.eigh(wide.T.cov())
        self.values.copy_(values.clamp(min=self.smallest))
        self.vectors.copy_(vectors)

    def log_det(self) -> Tensor:
        """Return the log-determinant."""
        return -0.5 * self.values.log().sum()

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return (x - self.mean) @ self.vectors * self.values.rsqrt(), self.log_det().expand(len(x))

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return (z * self.values.sqrt()) @ self.vectors.T + self.mean, -self.log_det().expand(len(z))


def conv_net(n_in: int, n_out: int, width: int = HIDDEN // 3) -> nn.Sequential:
    """Build a small convolutional network whose output is zero at first."""
    last = nn.Conv2d(width, n_out, 3, padding=1)
    nn.init.zeros_(last.weight)
    assert last.bias is not None
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Conv2d(n_in, width, 3, padding=1), nn.ReLU(), last)
