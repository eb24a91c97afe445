"""Faulty flows of plain torch: wrong code of a layer."""

import math
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.diagnosis.blind.builders import DIMS
from benchmarks.diagnosis.blind.cases import Case
from benchmarks.diagnosis.blind.fourth.layers import ChannelNorm, Rows, channels, haar
from benchmarks.diagnosis.blind.plain import Affine, Coupling, Layer, Ode, PlainFlow, ToLogits
from benchmarks.diagnosis.blind.third.layers import Standardised, train_quickly


class OpenRows(Rows):
    """Rows that see the hidden units of their own degree, too, and so themselves: MADE with ``>=`` in its last mask."""

    def connected(self, row: Tensor, degree: Tensor) -> Tensor:
        return row >= degree


class OnePixelNorm(ChannelNorm):
    """https://github.com/chaiyujin/glow-pytorch/issues/24 asks where pixels are counted; here they are not."""

    def log_det(self) -> Tensor:
        return self.log_scale.sum()


class AveragedCoupling(Coupling):
    """https://github.com/rosinality/glow-pytorch/issues/13: the mean of the batch in place of each image's value."""

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z, log_det = super().forward_and_log_det(x)
        return z, log_det.mean().expand(len(x))

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        x, log_det = super().inverse_and_log_det(z)
        return x, log_det.mean().expand(len(z))


class FrugalLogits(ToLogits):
    """A logit that squeezes its input in place to save memory."""

    alpha = 1e-3

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        inner = x.mul_(1 - 2 * self.alpha).add_(self.alpha)
        y = inner.log() - torch.log1p(-inner)
        return y, -self._log_det(y)


class DitheredLogits(ToLogits):
    """A logit that adds the noise of the dequantization itself, to images that have it already.

    https://github.com/phlippe/uvadlc_notebooks/issues/93 is about such a layer.
    """

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y, log_det = super().forward_and_log_det((255 * x + torch.rand_like(x)) / 256)
        return y, log_det + DIMS * math.log(255 / 256)

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        x, log_det = super().inverse_and_log_det(z)
        return x * 256 / 255, log_det - DIMS * math.log(255 / 256)


class ProductNorm(Standardised):
    """The logarithm of the product of scales; https://github.com/pymc-devs/pymc/pull/2362 has such determinants."""

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z, _ = super().forward_and_log_det(x)
        return z, self.log_scale.exp().prod().log().expand(len(x))


class EulerOde(Ode):
    """The equation is solved by Euler's method with few steps, in both directions."""

    def __init__(self) -> None:
        super().__init__(n_steps=3)
        with torch.no_grad():
            self.proj_out.weight.mul_(5)

    def integrate(self, x: Tensor, begin: float, end: float) -> tuple[Tensor, Tensor]:
        step, total = (end - begin) / self.n_steps, x.new_zeros(len(x))
        for i in range(self.n_steps):
            velocity, divergence = self.velocity(x, begin + i * step)
            x, total = x + step * velocity, total + step * divergence
        return x, total


class ShortSeries(Layer):
    """``z = x + 0.9 tanh(w x + b)`` of each element with ``|w| < 1``, whose inverse is a fixed point.

    The series of the log-determinant ends after its first term, the trace.
    """

    n_iterations = 200

    def __init__(self) -> None:
        super().__init__()
        self.raw, self.shift = nn.Parameter(0.5 * torch.randn(DIMS)), nn.Parameter(torch.zeros(DIMS))

    def _branch(self, x: Tensor) -> tuple[Tensor, Tensor]:
        slope = torch.tanh(self.raw)
        hidden = torch.tanh(slope * x + self.shift)
        return 0.9 * hidden, (0.9 * slope * (1 - hidden.square())).sum(1)

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        g, trace = self._branch(x)
        return x + g, trace

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        x = z
        for _ in range(self.n_iterations):
            x = z - self._branch(x)[0]
        return x, -self._branch(x)[1]


class Squash(Layer):
    """A tanh as the last layer, whose inverse cuts off what a tanh cannot give."""

    limit = 1 - 1e-4

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.tanh(x), self._log_det(x)

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.atanh(z.clamp(-self.limit, self.limit))
        return x, -self._log_det(x)

    def _log_det(self, x: Tensor) -> Tensor:
        return (2 * (math.log(2) - x - F.softplus(-2 * x))).sum(1)


def norm_and_couplings(first: Layer) -> PlainFlow:
    """Build two couplings after a normalisation, with another layer in place of the logit."""
    return PlainFlow([Standardised(), Coupling(0), Coupling(1), Affine()], first)


FAULTY_TORCH: dict[str, Case] = {
    "rows_pair": Case(lambda: PlainFlow([Standardised(), OpenRows(), Affine()]), train_quickly),
    "channels_three": Case(partial(channels, OnePixelNorm), train_quickly),
    "haar_means": Case(partial(haar, AveragedCoupling), weights="haar_four"),
    "logits_narrow": Case(lambda: norm_and_couplings(FrugalLogits()), train_quickly),
    "logits_noise": Case(lambda: norm_and_couplings(DitheredLogits()), train_quickly),
    "haar_product": Case(partial(haar, norm=ProductNorm), weights="haar_four"),
    "ode_three": Case(lambda: PlainFlow([Standardised(), EulerOde(), Affine()]), train_quickly),
    "residual_traces": Case(
        lambda: PlainFlow([Standardised(), ShortSeries(), Coupling(0), ShortSeries(), Coupling(1)]), train_quickly
    ),
    "squashed": Case(lambda: PlainFlow([Standardised(), Coupling(0), Coupling(1), Affine(), Squash()]), train_quickly),
}
