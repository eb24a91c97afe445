"""Autoregression over patches in plain torch, by a transformer or a recurrent network; right in this file."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.diagnosis.blind.plain import Layer

PATCH, FEATURES = 49, 32
N_PATCHES = 16


def to_patches(x: Tensor) -> Tensor:
    """Cut images that are given as vectors into patches of 7x7 pixels, shape (batch, 16, 49)."""
    return F.unfold(x.reshape(-1, 1, 28, 28), 7, stride=7).transpose(1, 2)


def to_vectors(patches: Tensor) -> Tensor:
    """Undo :func:`to_patches`."""
    return F.fold(patches.transpose(1, 2), 28, 7, stride=7).flatten(1)


class TarFlowBlock(Layer):
    """Patches are scaled and shifted given those before them, which a causal transformer sees (Zhai et al. 2024).

    Args:
        flips: Whether the order of the patches is reversed.
    """

    causal: Tensor

    def __init__(self, flips: bool) -> None:
        super().__init__()
        self.flips = flips
        self.proj_in, self.proj_out = nn.Linear(PATCH, FEATURES), nn.Linear(FEATURES, 2 * PATCH)
        self.position = nn.Parameter(0.01 * torch.randn(N_PATCHES, FEATURES))
        self.attention = nn.TransformerEncoderLayer(FEATURES, 2, 2 * FEATURES, 0.0, batch_first=True, norm_first=True)
        self.register_buffer("causal", torch.ones(N_PATCHES, N_PATCHES).triu(1).bool())
        nn.init.normal_(self.proj_out.weight, std=0.01)

    def given(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Return log-scale and shift of all patches."""
        hidden = self.attention(self.proj_in(patches) + self.position, src_mask=self.causal)
        log_scale, shift = F.pad(self.proj_out(hidden)[:, :-1], (0, 0, 1, 0)).chunk(2, 2)
        return torch.tanh(log_scale), shift

    def ordered(self, patches: Tensor) -> Tensor:
        """Return the patches in the order of prediction, or back in their own."""
        return patches.flip(1) if self.flips else patches

    def log_det(self, log_scale: Tensor) -> Tensor:
        """Return the log-determinant of a scaling by ``exp(-log_scale)``."""
        return -log_scale.sum((1, 2))

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        patches = self.ordered(to_patches(x))
        log_scale, shift = self.given(patches)
        return to_vectors(self.ordered((patches - shift) * (-log_scale).exp())), self.log_det(log_scale)

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        latents = self.ordered(to_patches(z))
        patches = torch.zeros_like(latents)
        for i in range(N_PATCHES):
            log_scale, shift = self.given(patches)
            patch = latents[:, i] * log_scale[:, i].exp() + shift[:, i]
            patches = torch.cat([patches[:, :i], patch[:, None], patches[:, i + 1 :]], 1)
        return to_vectors(self.ordered(patches)), -self.log_det(self.given(patches)[0])


class Recurrence(Layer):
    """Patches are scaled and shifted given the state of a recurrent network that has read those before them."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.proj_out = nn.GRUCell(PATCH, FEATURES), nn.Linear(FEATURES, 2 * PATCH)
        nn.init.normal_(self.proj_out.weight, std=0.01)
        self.state: Tensor | None = None

    def start(self, n: int, like: Tensor) -> None:
        """Begin with an empty state."""
        self.state = like.new_zeros(n, FEATURES)

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        patches, latents, total = to_patches(x), [], x.new_zeros(len(x))
        self.start(len(x), x)
        for patch in patches.unbind(1):
            log_scale, shift = self._given()
            latents.append((patch - shift) * log_scale.exp())
            total = total + log_scale.sum(1)
            self.state = self.cell(patch, self.state)
        return to_vectors(torch.stack(latents, 1)), total

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        patches, total = [], z.new_zeros(len(z))
        self.start(len(z), z)
        for latent in to_patches(z).unbind(1):
            log_scale, shift = self._given()
            patch = latent * (-log_scale).exp() + shift
            patches.append(patch)
            total = total - log_scale.sum(1)
            self.state = self.cell(patch, self.state)
        return to_vectors(torch.stack(patches, 1)), total

    def _given(self) -> tuple[Tensor, Tensor]:
        log_scale, shift = self.proj_out(self.state).chunk(2, 1)
        return torch.tanh(log_scale), shift
