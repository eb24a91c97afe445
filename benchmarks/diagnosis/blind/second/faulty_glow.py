"""Faulty Glows and transformers of plain torch: mistakes in layers of images and of patches."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from benchmarks.diagnosis.blind.cases import Case
from benchmarks.diagnosis.blind.plain import Affine, Layer, PlainFlow
from benchmarks.diagnosis.blind.second.glow_layers import SQUEEZED, AsImage, AsVector, ChannelNorm, Mixing, Step
from benchmarks.diagnosis.blind.second.sequence_layers import Recurrence, TarFlowBlock
from benchmarks.diagnosis.blind.second.vector_layers import FirstBatchNorm
from benchmarks.diagnosis.blind.training import train, train_briefly

CHANNELS = SQUEEZED[0]


def glow(*steps: Callable[[int], Layer]) -> PlainFlow:
    """Build a Glow of one scale from builders of its steps."""
    return PlainFlow([AsImage(), *(step(CHANNELS) for step in steps), AsVector()])


class MixingOfOnePixel(Mixing):
    """The log-determinant is that of one pixel, where it must be that of all 49."""

    def _log_det(self, x: Tensor) -> Tensor:
        return torch.linalg.slogdet(self.weight).logabsdet.expand(len(x))


class ForgetfulNorm(ChannelNorm):
    """Whether it was initialized is a plain attribute, which no checkpoint has, and any first batch initializes it."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.is_ready = False

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if not self.is_ready:
            self.initialize(x)
            self.is_ready = True
        return super().forward_and_log_det(x)


class StepInOneOrder(Step):
    """The inverse undoes the layers in the order of forward."""

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        total = z.new_zeros(len(z))
        for part in self.parts():
            z, log_det = part.inverse_and_log_det(z)
            total = total + log_det
        return z, total


class MixingWithOldInverse(Mixing):
    """The inverse of the matrix is computed once, when samples were drawn before training, and kept as a buffer."""

    inverse: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.register_buffer("inverse", self.weight.detach().inverse())

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return torch.nn.functional.conv2d(z, self.inverse[:, :, None, None]), -self._log_det(z)


class MeanTarFlowBlock(TarFlowBlock):
    """The log-determinant is a mean over patches and pixels, as in a published loss, but log p(z) is a sum."""

    def log_det(self, log_scale: Tensor) -> Tensor:
        return -log_scale.mean((1, 2))


class BackwardTarFlowBlock(TarFlowBlock):
    """Generated patches stay in the order of prediction."""

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        x, log_det = super().inverse_and_log_det(z)
        return x.reshape(-1, 4, 7, 4, 7).flip(1, 3).flatten(1), log_det


class EndlessRecurrence(Recurrence):
    """The state of the network is emptied only when the size of the batch changes."""

    def start(self, n: int, like: Tensor) -> None:
        if self.state is None or len(self.state) != n:
            super().start(n, like)
        else:
            self.state = self.state.detach().to(like)


def with_forgetful_norm() -> nn.Module:
    """Build a Glow with the norm that is initialized anew."""
    return glow(*[lambda channels: Step(channels, ForgetfulNorm)] * 2)


FAULTY_GLOW: dict[str, Case] = {
    "mixing_of_one_pixel": Case(
        lambda: glow(Step, lambda channels: Step(channels, mixing=MixingOfOnePixel), Step), train_briefly
    ),
    "norm_initialized_again": Case(with_forgetful_norm, train),
    "inverse_in_forward_order": Case(lambda: glow(Step, StepInOneOrder), train_briefly),
    "inverse_matrix_kept": Case(
        lambda: glow(Step, lambda channels: Step(channels, mixing=MixingWithOldInverse)), train_briefly
    ),
    "tarflow_log_det_is_mean": Case(
        lambda: PlainFlow([FirstBatchNorm(), MeanTarFlowBlock(False), TarFlowBlock(True)]), train_briefly
    ),
    "patches_left_in_reverse": Case(
        lambda: PlainFlow([FirstBatchNorm(), TarFlowBlock(False), BackwardTarFlowBlock(True)]), train_briefly
    ),
    "state_of_network_kept": Case(lambda: PlainFlow([FirstBatchNorm(), EndlessRecurrence(), Affine()]), train_briefly),
}
