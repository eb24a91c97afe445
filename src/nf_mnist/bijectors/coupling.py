"""Affine coupling layers (Dinh et al. 2017, "Density estimation using Real NVP", equations 7 to 9)."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from nf_mnist.bijectors.base import Bijector
from nf_mnist.errors import ConfigError

ScaleFunction = Callable[[Tensor, Tensor], Tensor]

SOFT_CLAMP_BOUND = 2.0


def _soft_clamp(raw: Tensor, kept: Tensor) -> Tensor:
    """Bound the log-scale by +-2 with an arctangent, linear near 0 (as in Ardizzone et al. 2019, conditional INNs)."""
    return SOFT_CLAMP_BOUND * (2 / math.pi) * torch.atan(raw / SOFT_CLAMP_BOUND)


def _double_tanh(raw: Tensor, kept: Tensor) -> Tensor:
    """Apply a second skip and tanh to a network that already ends in both: the bug of ``resflow_double_tanh``.

    The log-scale still depends on the kept half alone, so the inverse and the log-determinant stay right; but the
    kept values, logits of size up to 11, saturate the outer tanh, and its gradient vanishes.
    """
    return torch.tanh(torch.tanh(raw) + kept)


SCALES: dict[str, ScaleFunction] = {
    "tanh": lambda raw, kept: torch.tanh(raw),
    "soft_clamp": _soft_clamp,
    "none": lambda raw, kept: raw,
    "double_tanh": _double_tanh,
}


class AffineCoupling(Bijector):
    """Scale and shift the masked-out elements, given the kept ones.

    ``z = m x + (1 - m) (x exp(s(m x)) + t(m x))`` with log-determinant ``sum((1 - m) s)``: only the transformed
    elements count.

    Args:
        mask: Shape (*event), 1 where the input passes unchanged.
        scale_net: Maps the kept elements, shape (batch, *event), to the raw log-scale of the same shape.
        shift_net: The same for the shift.
        scale: What bounds the log-scale: ``tanh`` (by 1), ``soft_clamp`` (by 2), ``none`` (training may overflow),
            or ``double_tanh`` (an ablation).

    Raises:
        ConfigError: If ``scale`` is unknown.
    """

    mask: Tensor

    def __init__(self, mask: Tensor, scale_net: nn.Module, shift_net: nn.Module, scale: str = "tanh") -> None:
        super().__init__()
        if scale not in SCALES:
            raise ConfigError(f"unknown scale {scale!r}; choose one of {', '.join(SCALES)}")
        self.register_buffer("mask", mask, persistent=False)
        self.scale_net = scale_net
        self.shift_net = shift_net
        self.scale = SCALES[scale]

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_scale, shift = self._parameters_given(x, context)
        return x * log_scale.exp() + shift, log_scale.flatten(1).sum(1)

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_scale, shift = self._parameters_given(z, context)
        return (z - shift) * (-log_scale).exp(), -log_scale.flatten(1).sum(1)

    def _parameters_given(self, values: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return log-scale and shift, both exactly zero on the kept elements, in the dtype of the values.

        Both directions call this, so they cannot disagree. Networks may compute in a lower precision (autocast);
        from here on everything is in the dtype of the values again.
        """
        kept = values * self.mask
        arguments = (kept,) if context is None else (kept, context)
        free = 1 - self.mask
        raw = self.scale_net(*arguments).to(values.dtype)
        shift = self.shift_net(*arguments).to(values.dtype)
        return free * self.scale(raw, kept), free * shift
