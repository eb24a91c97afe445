"""Layers of vectors in plain torch beside those of both sets; those in this file are right."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.diagnosis.blind.plain import DIMS, Affine, Coupling, Layer, Ode, PlainFlow, perceptron

BOUND = 4.0
MIN_WIDTH = 1e-3
MIN_SLOPE = 1e-3


class FirstBatchNorm(Affine):
    """A learned scale and shift, which begin with those that normalise the first batch of training."""

    is_set: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("is_set", torch.tensor(False))

    @torch.no_grad()
    def _set(self, x: Tensor) -> None:
        self.shift.copy_(-x.mean(0))
        self.log_scale.copy_(-x.std(0).log())
        self.is_set.fill_(True)

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.training and not self.is_set:
            self._set(x)
        return super().forward_and_log_det(x)


def between(*layers: nn.Module) -> PlainFlow:
    """Build a flow whose given layers lie after a normalization and before a coupling."""
    return PlainFlow([FirstBatchNorm(), *layers, Coupling(0)])


class Made(Layer):
    """Masked autoregression: each dimension is scaled and shifted given those before it."""

    mask_in: Tensor
    mask_out: Tensor

    def __init__(self, hidden: int = 64) -> None:
        super().__init__()
        positions = torch.arange(DIMS)
        degrees = torch.arange(hidden) * (DIMS - 1) // hidden
        self.register_buffer("mask_in", (degrees[:, None] >= positions).float())
        self.register_buffer("mask_out", self.seen(degrees, positions).float().repeat(2, 1))
        self.proj_in, self.proj_out = nn.Linear(DIMS, hidden), nn.Linear(hidden, 2 * DIMS)
        nn.init.normal_(self.proj_out.weight, std=0.01)

    def seen(self, degrees: Tensor, positions: Tensor) -> Tensor:
        """Return which hidden units each output sees, shape (784, hidden)."""
        return positions[:, None] > degrees

    def given(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return log-scale and shift."""
        hidden = torch.tanh(F.linear(x, self.proj_in.weight * self.mask_in, self.proj_in.bias))
        raw, shift = F.linear(hidden, self.proj_out.weight * self.mask_out, self.proj_out.bias).chunk(2, 1)
        return torch.tanh(raw), shift

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self.given(x)
        return (x - shift) * log_scale.exp(), log_scale.sum(1)

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.zeros_like(z)
        for i in range(DIMS):
            log_scale, shift = self.given(x)
            column = z[:, i] * (-log_scale[:, i]).exp() + shift[:, i]
            x = torch.cat([x[:, :i], column[:, None], x[:, i + 1 :]], 1)
        return x, -self.given(x)[0].sum(1)


class AdditiveCoupling(Layer):
    """NICE's coupling: the second half is shifted given the first; halves change places afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.net = perceptron(DIMS // 2, DIMS // 2)

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kept, moved = x.chunk(2, 1)
        return torch.cat([moved + self.net(kept), kept], 1), x.new_zeros(len(x))

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        moved, kept = z.chunk(2, 1)
        return torch.cat([kept, moved - self.net(kept)], 1), z.new_zeros(len(z))


class Reflections(Layer):
    """A product of Householder reflections, which preserves volumes."""

    def __init__(self, n: int = 8) -> None:
        super().__init__()
        self.normals = nn.Parameter(torch.randn(n, DIMS))

    def _reflect(self, x: Tensor, order: range) -> tuple[Tensor, Tensor]:
        units = F.normalize(self.normals, dim=1)
        for i in order:
            x = x - 2 * (x @ units[i])[:, None] * units[i]
        return x, x.new_zeros(len(x))

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._reflect(x, range(len(self.normals)))

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self._reflect(z, range(len(self.normals) - 1, -1, -1))


def rational_quadratic(values: Tensor, raw: Tensor, n_bins: int, is_inverse: bool) -> tuple[Tensor, Tensor]:
    """Return the monotonic spline of Durkan et al. (2019) between -4 and 4, or its inverse, and the log of its slope.

    Args:
        values: Elements, all between -4 and 4, shape (batch, n).
        raw: Widths, heights and inner slopes before their activations, shape (batch, n, 3 n_bins - 1).
        n_bins: Number of bins.
        is_inverse: Whether values are outputs of the spline.
    """
    parts = raw.split([n_bins, n_bins, n_bins - 1], 2)
    sizes = [2 * BOUND * (MIN_WIDTH + (1 - MIN_WIDTH * n_bins) * part.softmax(2)) for part in parts[:2]]
    knots = [F.pad(size.cumsum(2), (1, 0)) - BOUND for size in sizes]
    slopes = F.pad(MIN_SLOPE + F.softplus(parts[2] + 0.54), (1, 1), value=1.0)
    inner = knots[is_inverse][..., 1:-1].contiguous()
    index = torch.searchsorted(inner, values[..., None].contiguous())
    width, height = (size.gather(2, index)[..., 0] for size in sizes)
    left, bottom = (knot.gather(2, index)[..., 0] for knot in knots)
    begin, end = slopes.gather(2, index)[..., 0], slopes.gather(2, index + 1)[..., 0]
    steep = height / width
    bend = begin + end - 2 * steep
    if is_inverse:
        rise = values - bottom
        a, b, c = height * (steep - begin) + rise * bend, height * begin - rise * bend, -steep * rise
        t = 2 * c / (-b - (b.square() - 4 * a * c).clamp(min=0).sqrt())
        result = t * width + left
    else:
        t = (values - left) / width
        result = bottom + height * (steep * t.square() + begin * t * (1 - t)) / (steep + bend * t * (1 - t))
    slope = steep.square() * (end * t.square() + 2 * steep * t * (1 - t) + begin * (1 - t).square())
    log_slope = slope.log() - 2 * (steep + bend * t * (1 - t)).log()
    return result, -log_slope if is_inverse else log_slope


class SplineCoupling(Layer):
    """Splines of the second half given the first, with linear tails; halves change places afterwards."""

    n_bins = 5

    def __init__(self) -> None:
        super().__init__()
        self.net = perceptron(DIMS // 2, DIMS // 2 * (3 * self.n_bins - 1), 32)

    def bend(self, moved: Tensor, kept: Tensor, is_inverse: bool) -> tuple[Tensor, Tensor]:
        """Return the bent half and the log of the slopes of its elements."""
        raw = self.net(kept).reshape(*moved.shape, -1)
        bent, log_slope = rational_quadratic(moved.clamp(-BOUND, BOUND), raw, self.n_bins, is_inverse)
        inside = moved.abs() < BOUND
        return torch.where(inside, bent, moved), torch.where(inside, log_slope, 0.0)

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kept, moved = x.chunk(2, 1)
        bent, log_slope = self.bend(moved, kept, is_inverse=False)
        return torch.cat([bent, kept], 1), log_slope.sum(1)

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        bent, kept = z.chunk(2, 1)
        moved, log_slope = self.bend(bent, kept, is_inverse=True)
        return torch.cat([kept, moved], 1), log_slope.sum(1)


class HutchinsonOde(Ode):
    """A continuous map whose divergence is estimated by Hutchinson's method, with one probe for each integral."""

    def probe(self, x: Tensor) -> Tensor:
        """Draw a probe, whose second moments are the unit matrix."""
        return torch.randint(2, x.shape).to(x) * 2 - 1

    def velocity(self, x: Tensor, t: float) -> tuple[Tensor, Tensor]:
        hidden = torch.tanh(self.proj_in(x) + t * self.time)
        pulled, pushed = self.drawn @ self.proj_out.weight, self.drawn @ self.proj_in.weight.T
        return self.proj_out(hidden), (pulled * (1 - hidden.square()) * pushed).sum(1)

    def integrate(self, x: Tensor, begin: float, end: float) -> tuple[Tensor, Tensor]:
        self.drawn = self.probe(x)
        return super().integrate(x, begin, end)
