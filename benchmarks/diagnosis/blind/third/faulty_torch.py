"""Faulty flows of plain torch: wrong code of a layer."""

from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.diagnosis.blind.builders import DIMS
from benchmarks.diagnosis.blind.cases import Case
from benchmarks.diagnosis.blind.plain import Affine, Coupling, Layer, Ode, PlainFlow, Residual, ToLogits, perceptron
from benchmarks.diagnosis.blind.third.layers import (
    EstimatedOde,
    Mixing,
    Planar,
    Squeezed,
    Standardised,
    solve,
    train_quickly,
)
from benchmarks.diagnosis.blind.training import train_longer


class EvenOddCoupling(Layer):
    """A coupling of even and odd elements, whose results are put side by side.

    https://github.com/karpathy/pytorch-normalizing-flows/issues/10: the way back takes every second element, too.
    """

    def __init__(self) -> None:
        super().__init__()
        self.net = perceptron(DIMS // 2, DIMS)

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kept, moved = x[:, ::2], x[:, 1::2]
        log_scale, shift = self._parameters_given(kept)
        return torch.cat([kept, moved * log_scale.exp() + shift], 1), log_scale.sum(1)

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        kept, moved = z[:, ::2], z[:, 1::2]
        log_scale, shift = self._parameters_given(kept)
        return torch.cat([kept, (moved - shift) * (-log_scale).exp()], 1), -log_scale.sum(1)

    def _parameters_given(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        raw, shift = self.net(kept).chunk(2, 1)
        return 2 * torch.tanh(raw / 2), shift


class LogdetMixing(Mixing):
    """Channels mixed by a matrix whose determinant may be negative.

    https://github.com/jaywalnut310/glow-tts/issues/17: ``logdet`` is right only while the determinant is positive.
    """

    def log_det_of_pixel(self) -> Tensor:
        return torch.logdet(self.weight)


class CachedMixing(Mixing):
    """Channels mixed by a matrix whose inverse is kept for later, as WaveGlow's ``W_inverse``.

    https://github.com/NVIDIA/waveglow: the inverse is computed when samples are first drawn, here before the training.
    """

    kept: Tensor | None = None

    def inverse_matrix(self) -> Tensor:
        if self.kept is None:
            self.kept = super().inverse_matrix().detach()
        return self.kept.to(self.weight)


class HalfMixing(Mixing):
    """Channels mixed in bfloat16, as a mixed-precision wrapper around a whole model does."""

    def mixed(self, matrix: Tensor, x: Tensor) -> Tensor:
        return super().mixed(matrix.bfloat16(), x.bfloat16()).to(x)


class ForgetfulNorm(Standardised):
    """https://github.com/rosinality/glow-pytorch/issues/6: whether it is set is not saved with the weights."""

    def __init__(self) -> None:
        super().__init__()
        del self.is_set
        self.is_set = torch.tensor(False)

    def needs_statistics(self) -> bool:
        return not self.is_set


class FreePlanar(Planar):
    """https://github.com/ex4sperans/variational-inference-with-normalizing-flows/issues/2: u is not constrained."""

    def direction(self) -> Tensor:
        return self.u


class TwiceReversedOde(Ode):
    """https://github.com/willisma/SiT/pull/36: on the way back, the times are reversed and the velocity's time, too."""

    def __init__(self) -> None:
        super().__init__()
        with torch.no_grad():
            self.time.mul_(2)
            self.proj_out.weight.mul_(5)

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return solve(lambda x, t: self.velocity(x, 1 - t), z, 1.0, 0.0, self.n_steps)


class UniformProbeOde(EstimatedOde):
    """The divergence is estimated with a vector of ``rand`` instead of ``randn``, whose elements are correlated."""

    def probe(self, x: Tensor) -> Tensor:
        return torch.rand_like(x)


class PowerIterated(Residual):
    """A residual block whose matrices are divided by estimates of their norms, made by power iterations in training.

    https://github.com/NCAR/miles-credit/pull/394 lost the vectors of the iterations to an average; here they are not
    saved with the weights, so that random ones bound nothing after loading.
    """

    is_saved = False

    def __init__(self) -> None:
        super().__init__(bound=0.8)
        for name, matrix in (("in", self.proj_in.weight), ("out", self.proj_out.weight)):
            vector = nn.functional.normalize(torch.randn(matrix.shape[1]), dim=0)
            self.register_buffer(f"vector_{name}", vector, persistent=self.is_saved)

    def _matrices(self) -> tuple[Tensor, Tensor]:
        return self._bounded("in", self.proj_in.weight), self._bounded("out", self.proj_out.weight)

    def _bounded(self, name: str, matrix: Tensor) -> Tensor:
        assert self.bound is not None
        vector = getattr(self, f"vector_{name}")
        if self.training:
            with torch.no_grad():
                for _ in range(5):
                    vector.copy_(nn.functional.normalize(matrix.T @ (matrix @ vector), dim=0))
        return self.bound**0.5 * matrix / torch.linalg.vector_norm(matrix @ vector)


class SavedPowerIterated(PowerIterated):
    """The same with the vectors saved, which is right."""

    is_saved = True


class ToWideLogits(ToLogits):
    """https://github.com/phlippe/uvadlc_notebooks/issues/57: one direction does not count the factor ``1 - 2a``."""

    alpha = 0.05

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y, _ = super().forward_and_log_det(x)
        return y, -(nn.functional.logsigmoid(y) + nn.functional.logsigmoid(-y)).sum(1)


def squeezed(mixing: type[Mixing], n_blocks: int = 3) -> PlainFlow:
    """Build normalisations, mixings of channels and couplings on a squeezed image."""
    blocks = [layer for i in range(n_blocks) for layer in (Standardised(), mixing(), Coupling(i % 2))]
    return PlainFlow([Squeezed(), *blocks])


def squeezed_after_a_look() -> PlainFlow:
    """Build the same and draw samples once, to see whether it works."""
    flow = squeezed(CachedMixing)
    with torch.no_grad():
        flow.inverse_and_log_det(torch.randn(4, DIMS))
    return flow


def couplings(norm: type[Layer] = Standardised, first: Layer | None = None) -> PlainFlow:
    """Build couplings, each after a layer of scales and shifts."""
    return PlainFlow([layer for i in range(4) for layer in (norm(), Coupling(i % 2))], first)


FAULTY_TORCH: dict[str, Case] = {
    "two_halves": Case(lambda: PlainFlow([Standardised(), EvenOddCoupling(), EvenOddCoupling()]), train_quickly),
    "squeezed_plain": Case(partial(squeezed, LogdetMixing)),
    "squeezed_waveglow": Case(squeezed_after_a_look, weights="squeezed_three"),
    "squeezed_short": Case(partial(squeezed, HalfMixing), weights="squeezed_three"),
    "standardised": Case(partial(couplings, ForgetfulNorm), train_longer),
    "planar_four": Case(lambda: PlainFlow([Standardised(), *(FreePlanar() for _ in range(4))]), train_quickly),
    "ode_in_time": Case(lambda: PlainFlow([Standardised(), TwiceReversedOde(), Affine()]), train_quickly),
    "ode_with_probes": Case(lambda: PlainFlow([Standardised(), UniformProbeOde(), Affine()]), weights="ode_probes"),
    "residual_powers": Case(lambda: PlainFlow([Standardised(), PowerIterated(), PowerIterated()]), train_quickly),
    "wide_margins": Case(lambda: couplings(first=ToWideLogits()), train_quickly),
}
