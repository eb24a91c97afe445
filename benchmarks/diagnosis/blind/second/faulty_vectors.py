"""Faulty flows of plain torch on vectors: log-determinants, inverses, gradients and numbers."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.diagnosis.blind.builders import on_vectors
from benchmarks.diagnosis.blind.cases import Case
from benchmarks.diagnosis.blind.plain import Affine, Coupling, Layer, PlainFlow, Residual, ToLogits
from benchmarks.diagnosis.blind.second.vector_layers import (
    BOUND,
    AdditiveCoupling,
    FirstBatchNorm,
    HutchinsonOde,
    Made,
    SplineCoupling,
    between,
)
from benchmarks.diagnosis.blind.training import train, train_briefly
from nf_mnist.bijectors import Bijector


class CouplingOfBatch(Coupling):
    """``sum()`` goes over the batch too, and each image gets the mean log-determinant; the mean loss is the same."""

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z, log_det = super().forward_and_log_det(x)
        return z, (log_det.sum() / len(x)).expand(len(x))


class ClampedSplines(SplineCoupling):
    """Values beyond the splines' bound are moved onto it, instead of being left alone."""

    def bend(self, moved: Tensor, kept: Tensor, is_inverse: bool) -> tuple[Tensor, Tensor]:
        return super().bend(moved.clamp(-BOUND + 1e-4, BOUND - 1e-4), kept, is_inverse)


class SelfSeeingMade(Made):
    """The output's mask has ``>=`` where ``>`` is right, so dimensions see themselves."""

    def seen(self, degrees: Tensor, positions: Tensor) -> Tensor:
        return positions[:, None] >= degrees


class CouplingWithDropout(Coupling):
    """``F.dropout`` without ``training=self.training`` drops in evaluation, too."""

    def parameters_given(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = F.dropout(self.net[1](self.net[0](x * self.mask)), 0.2)
        raw, shift = self.net[2](hidden).chunk(2, 1)
        return (1 - self.mask) * 2 * torch.tanh(raw / 2), (1 - self.mask) * shift


class CouplingOfBatchStatistics(Coupling):
    """The network normalises by the statistics of the batch, in evaluation, too."""

    def __init__(self, parity: int) -> None:
        super().__init__(parity)
        normed = nn.BatchNorm1d(64, track_running_stats=False)
        self.net = nn.Sequential(self.net[0], normed, *self.net[1:])


class Estimated(Bijector):
    """A continuous map of plain torch as a bijector that estimates its log-determinants.

    Args:
        ode: The map.
    """

    def __init__(self, ode: HutchinsonOde) -> None:
        super().__init__()
        self.ode = ode

    @property
    def estimates_log_det(self) -> bool:
        return True

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.ode.forward_and_log_det(x)

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.ode.inverse_and_log_det(z)


class PositiveProbes(HutchinsonOde):
    """Probes are drawn by ``rand``: their second moments are no unit matrix, so the estimate is biased."""

    def probe(self, x: Tensor) -> Tensor:
        return torch.rand_like(x)


class ClampedLogits(ToLogits):
    """Pixels are moved into [0.01, 0.99] before the logit, so the darkest levels become one number."""

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward_and_log_det(x.clamp(0.01, 0.99))


class AddingInverse(AdditiveCoupling):
    """The inverse adds the shift once more."""

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        moved, kept = z.chunk(2, 1)
        return torch.cat([kept, moved + self.net(kept)], 1), z.new_zeros(len(z))


class TraceResidual(Residual):
    """The series of the log-determinant is cut after its first term, the trace."""

    def _branch(self, x: Tensor) -> tuple[Tensor, Tensor]:
        into, out = self._matrices()
        hidden = torch.tanh(F.linear(x, into, self.proj_in.bias))
        trace = ((1 - hidden.square()) * (into * out.T).sum(1)).sum(1)
        return F.linear(hidden, out, self.proj_out.bias), trace


class SparingFlow(PlainFlow):
    """Log-determinants are added up in bfloat16, which has three digits."""

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z, total = x.flatten(1), x.new_zeros(len(x), dtype=torch.bfloat16)
        for layer in self.layers:
            z, log_det = layer.forward_and_log_det(z)
            total = total + log_det.bfloat16()
        return z, total.to(x.dtype)


class UntaughtCoupling(Coupling):
    """The log-determinant is computed from ``.data``, so it has no gradient."""

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        log_scale, shift = self.parameters_given(x)
        return x * log_scale.exp() + shift, log_scale.data.sum(1)


class Tails(Layer):
    """Stretches what lies beyond 2 by an exponential of half the distance; its log-slope lacks the ``log(1 / 2)``."""

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        excess = x.abs() - 2
        outer = x.sign() * (2 + torch.expm1(excess.clamp(min=0) / 2))
        return torch.where(excess > 0, outer, x), (excess.clamp(min=0) / 2).sum(1)

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        excess = z.abs() - 2
        outer = z.sign() * (2 + 2 * torch.log1p(excess.clamp(min=0)))
        return torch.where(excess > 0, outer, z), -torch.log1p(excess.clamp(min=0)).sum(1)


def untaught() -> PlainFlow:
    """Build couplings whose log-determinants have no gradient."""
    return PlainFlow([FirstBatchNorm(), *(UntaughtCoupling(i % 2) for i in range(4))])


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "log_det_of_whole_batch": lambda: between(CouplingOfBatch(1), Coupling(0)),
    "splines_clamp_tails": lambda: between(SplineCoupling(), ClampedSplines()),
    "made_sees_itself": lambda: between(SelfSeeingMade()),
    "dropout_in_evaluation": lambda: between(CouplingWithDropout(1), CouplingWithDropout(0)),
    "batch_statistics_in_evaluation": lambda: between(CouplingOfBatchStatistics(1)),
    "probes_from_rand": lambda: on_vectors(Estimated(PositiveProbes())),
    "pixels_clamped_before_logit": lambda: PlainFlow([Affine(), Coupling(1), Coupling(0)], ClampedLogits()),
    "inverse_adds_the_shift": lambda: PlainFlow(
        [FirstBatchNorm(), AdditiveCoupling(), AddingInverse(), AdditiveCoupling(), Affine()]
    ),
    "series_cut_after_trace": lambda: PlainFlow([FirstBatchNorm(), TraceResidual(0.95), Coupling(0)]),
    "log_det_in_bfloat16": lambda: SparingFlow([FirstBatchNorm(), *(Coupling(i % 2) for i in range(4))]),
    "log_det_without_gradient": untaught,
    "slope_of_tails_without_factor": lambda: between(Tails(), Coupling(1)),
}
FIT = {
    "splines_clamp_tails": train,
    "log_det_in_bfloat16": train,
    "series_cut_after_trace": train,
    "probes_from_rand": partial(train, n_steps=250),
}
FAULTY_VECTORS = {name: Case(build, FIT.get(name, train_briefly)) for name, build in LAYERS.items()}
