"""Layers of Glow in plain torch; those in this file are right."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.diagnosis.blind.plain import Layer

SQUEEZED = (16, 7, 7)


class AsImage(Layer):
    """Vectors to images, whose blocks of 4x4 pixels become channels."""

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return F.pixel_unshuffle(x.reshape(-1, 1, 28, 28), 4), x.new_zeros(len(x))

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return F.pixel_shuffle(z, 4).flatten(1), z.new_zeros(len(z))


class AsVector(Layer):
    """Squeezed images to vectors."""

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x.flatten(1), x.new_zeros(len(x))

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return z.reshape(-1, *SQUEEZED), z.new_zeros(len(z))


class ChannelNorm(Layer):
    """Activation normalization, whose parameters come from the first batch of training."""

    initialized: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.log_scale = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.register_buffer("initialized", torch.tensor(False))

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Give the channels of a batch mean 0 and deviation 1."""
        self.shift.copy_(-x.mean((0, 2, 3), keepdim=True))
        self.log_scale.copy_(-x.std((0, 2, 3), keepdim=True).add(1e-6).log())
        self.initialized.fill_(True)

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if self.training and not self.initialized:
            self.initialize(x)
        return (x + self.shift) * self.log_scale.exp(), self._log_det(x)

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return z * (-self.log_scale).exp() - self.shift, -self._log_det(z)

    def _log_det(self, x: Tensor) -> Tensor:
        return (self.log_scale.sum() * x[0, 0].numel()).expand(len(x))


class Mixing(Layer):
    """An invertible 1x1 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linalg.qr(torch.randn(channels, channels)).Q)

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return F.conv2d(x, self.weight[:, :, None, None]), self._log_det(x)

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return F.conv2d(z, self.weight.inverse()[:, :, None, None]), -self._log_det(z)

    def _log_det(self, x: Tensor) -> Tensor:
        return (torch.linalg.slogdet(self.weight).logabsdet * x[0, 0].numel()).expand(len(x))


class ConvCoupling(Layer):
    """An affine coupling of the second half of the channels, given the first, with Glow's ``sigmoid(s + 2)``."""

    def __init__(self, channels: int, hidden: int = 24) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(channels // 2, hidden, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 1),
            nn.ReLU(),
            nn.Conv2d(hidden, channels, 3, padding=1),
        )
        nn.init.zeros_(self.net[-1].weight)
        nn.init.zeros_(self.net[-1].bias)

    def _given(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        raw, shift = self.net(kept).chunk(2, 1)
        return F.logsigmoid(raw + 2), shift

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        kept, moved = x.chunk(2, 1)
        log_scale, shift = self._given(kept)
        return torch.cat([kept, (moved + shift) * log_scale.exp()], 1), log_scale.flatten(1).sum(1)

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        kept, moved = z.chunk(2, 1)
        log_scale, shift = self._given(kept)
        return torch.cat([kept, moved * (-log_scale).exp() - shift], 1), -log_scale.flatten(1).sum(1)


class Step(Layer):
    """Normalization, mixing of channels and a coupling.

    Args:
        channels: Number of channels.
        norm: Builds the normalization.
        mixing: Builds the convolution.
    """

    def __init__(
        self, channels: int, norm: Callable[[int], Layer] = ChannelNorm, mixing: Callable[[int], Layer] = Mixing
    ) -> None:
        super().__init__()
        self.norm, self.mixing, self.coupling = norm(channels), mixing(channels), ConvCoupling(channels)

    def parts(self) -> list[Layer]:
        """Return the layers from data to latent."""
        return [self.norm, self.mixing, self.coupling]

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        total = x.new_zeros(len(x))
        for part in self.parts():
            x, log_det = part.forward_and_log_det(x)
            total = total + log_det
        return x, total

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        total = z.new_zeros(len(z))
        for part in reversed(self.parts()):
            z, log_det = part.inverse_and_log_det(z)
            total = total + log_det
        return z, total


class TwoScales(Layer):
    """Steps on all channels, then further steps on the first half of them; the latent is flat."""

    def __init__(self) -> None:
        super().__init__()
        channels = SQUEEZED[0]
        self.upper, self.lower = Step(channels), Step(channels // 2)

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h, upper = self.upper.forward_and_log_det(x)
        kept, factored = h.chunk(2, 1)
        kept, lower = self.lower.forward_and_log_det(kept)
        return torch.cat([kept, factored], 1).flatten(1), upper + lower

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        kept, factored = z.reshape(-1, *SQUEEZED).chunk(2, 1)
        kept, lower = self.lower.inverse_and_log_det(kept)
        x, upper = self.upper.inverse_and_log_det(torch.cat([kept, factored], 1))
        return x, lower + upper
