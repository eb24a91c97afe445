"""Healthy flows of plain torch."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.diagnosis.blind.builders import DIMS
from benchmarks.diagnosis.blind.cases import Case, Shown, shown_plainly, training_and_validation
from benchmarks.diagnosis.blind.plain import Affine, Coupling, Layer, PlainFlow, ToLogits, perceptron
from benchmarks.diagnosis.blind.second.faulty_glow import glow
from benchmarks.diagnosis.blind.second.faulty_training import without_logit
from benchmarks.diagnosis.blind.second.glow_layers import AsImage, Step, TwoScales
from benchmarks.diagnosis.blind.second.sequence_layers import Recurrence, TarFlowBlock
from benchmarks.diagnosis.blind.second.vector_layers import (
    AdditiveCoupling,
    FirstBatchNorm,
    Made,
    Reflections,
    SplineCoupling,
    between,
)
from benchmarks.diagnosis.blind.training import train, train_briefly, train_longer


class DropoutCoupling(Coupling):
    """The network drops hidden units in training only."""

    def __init__(self, parity: int) -> None:
        super().__init__(parity)
        self.net = nn.Sequential(*self.net[:2], nn.Dropout(0.2), self.net[2])


class DoubleFlow(PlainFlow):
    """Computes in float64 and returns what it was given in float32."""

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z, log_det = super().forward_and_log_det(x.double())
        return z.to(x.dtype), log_det.to(x.dtype)

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        x, log_det = super().inverse_and_log_det(z.double())
        return x.to(z.dtype), log_det.to(z.dtype)


class Reversal(Layer):
    """The dimensions in the opposite order."""

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.flip(1), x.new_zeros(len(x))

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return z.flip(1), z.new_zeros(len(z))


class FixedWhitening(Layer):
    """Principal components of the logits of training images, as buffers, with a floor of their deviations."""

    mean: Tensor
    matrix: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(DIMS))
        self.register_buffer("matrix", torch.eye(DIMS))

    @torch.no_grad()
    def fit(self, logits: Tensor) -> None:
        """Take mean and components of logits, shape (n, 784)."""
        variance, components = torch.linalg.eigh(torch.cov(logits.T))
        self.mean.copy_(logits.mean(0))
        self.matrix.copy_(components / variance.clamp(min=0.25).sqrt())

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return (x - self.mean) @ self.matrix, torch.linalg.slogdet(self.matrix).logabsdet.expand(len(x))

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        log_det = -torch.linalg.slogdet(self.matrix).logabsdet
        return torch.linalg.solve(self.matrix, z, left=False) + self.mean, log_det.expand(len(z))


def fit_whitening(flow: Any) -> None:
    """Fit the principal components of 5000 dithered images, then train the couplings."""
    levels = training_and_validation()[0].levels[:5000]
    x = (levels + torch.rand(levels.shape)) / 256
    flow.layers[1].fit(flow.layers[0].forward_and_log_det(x.flatten(1))[0])
    train(flow, 200)


class SmallImages(nn.Module):
    """A flow of images of 14x14 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = ToLogits()
        self.log_scale, self.shift = nn.Parameter(torch.zeros(196)), nn.Parameter(torch.zeros(196))
        self.nets = nn.ModuleList([perceptron(98, 196) for _ in range(4)])

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map images, shape (batch, 1, 14, 14), to vectors."""
        y, total = self.logits.forward_and_log_det(x.flatten(1))
        y, total = (y + self.shift) * self.log_scale.exp(), total + self.log_scale.sum()
        for net in self.nets:
            kept, moved = y.chunk(2, 1)
            raw, shift = net(kept).chunk(2, 1)
            log_scale = torch.tanh(raw)
            y, total = torch.cat([moved * log_scale.exp() + shift, kept], 1), total + log_scale.sum(1)
        return y, total

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map vectors to images."""
        total = z.new_zeros(len(z))
        for net in reversed(self.nets):
            moved, kept = z.chunk(2, 1)
            raw, shift = net(kept).chunk(2, 1)
            log_scale = torch.tanh(raw)
            z, total = torch.cat([kept, (moved - shift) * (-log_scale).exp()], 1), total - log_scale.sum(1)
        z, total = z * (-self.log_scale).exp() - self.shift, total - self.log_scale.sum()
        x, log_det = self.logits.inverse_and_log_det(z)
        return x.reshape(-1, 1, 14, 14), total + log_det


def halved(levels: Tensor) -> Tensor:
    """Return the means of blocks of 2x2 pixels, rounded."""
    return F.avg_pool2d(levels.float(), 2).round().to(torch.uint8)


def shown_halved() -> Shown:
    """Return small images."""
    plain = shown_plainly()
    return Shown(halved(plain.levels), halved(plain.train))


def fit_on_halved(flow: nn.Module) -> None:
    """Train on small images."""
    train(flow, 500, levels=halved(training_and_validation()[0].levels))


def shared_on_purpose() -> PlainFlow:
    """Build three passes of one coupling, between which the dimensions change places, as in a recurrent flow."""
    shared = Coupling(0)
    return PlainFlow([FirstBatchNorm(), shared, Reversal(), shared, Reversal(), shared, Affine()])


HEALTHY_TORCH: dict[str, Case] = {
    "torch_glow": Case(lambda: glow(Step, Step, Step), train),
    "torch_two_scales": Case(lambda: PlainFlow([AsImage(), TwoScales()]), train_briefly),
    "torch_made": Case(lambda: between(Made(48)), train),
    "torch_splines": Case(lambda: between(SplineCoupling(), SplineCoupling()), train),
    "torch_additive": Case(
        lambda: PlainFlow([FirstBatchNorm(), AdditiveCoupling(), AdditiveCoupling(), AdditiveCoupling(), Affine()]),
        train_longer,
    ),
    "torch_reflections": Case(lambda: between(Reflections(), Coupling(1)), train_briefly),
    "torch_tarflow": Case(lambda: PlainFlow([FirstBatchNorm(), TarFlowBlock(False), TarFlowBlock(True)]), train),
    "torch_recurrence": Case(lambda: PlainFlow([FirstBatchNorm(), Recurrence(), Affine()]), train_briefly),
    "torch_double": Case(
        lambda: DoubleFlow([FirstBatchNorm(), Coupling(0), Coupling(1)]).double(), partial(train, n_steps=300)
    ),
    "torch_dropout_in_training": Case(
        lambda: PlainFlow([FirstBatchNorm(), DropoutCoupling(0), DropoutCoupling(1), Affine()]), train
    ),
    "torch_shared_on_purpose": Case(shared_on_purpose, train),
    "torch_without_logit": Case(without_logit, partial(train, lr=2e-3)),
    "torch_small_images": Case(SmallImages, fit_on_halved, shown_halved),
    "torch_whitening": Case(lambda: PlainFlow([FixedWhitening(), Coupling(0), Coupling(1)]), fit_whitening),
}
