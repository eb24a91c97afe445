"""Affine and additive coupling layers (Dinh et al. 2017, "Density estimation using Real NVP", equations 7 to 9)."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nf_mnist.bijectors.base import Bijector
from nf_mnist.errors import ConfigError

ScaleFunction = Callable[[Tensor], Tensor]

SOFT_CLAMP_BOUND = 2.0


def _tanh(raw: Tensor) -> Tensor:
    return torch.tanh(raw)


def _soft_clamp(raw: Tensor) -> Tensor:
    """Bound the log-scale by +-2 with an arctangent, linear near 0 (as in Ardizzone et al. 2019, conditional INNs)."""
    return SOFT_CLAMP_BOUND * (2 / math.pi) * torch.atan(raw / SOFT_CLAMP_BOUND)


def _sigmoid(raw: Tensor) -> Tensor:
    return F.logsigmoid(raw + 2)


def _none(raw: Tensor) -> Tensor:
    return raw


def _double_tanh(raw: Tensor) -> Tensor:
    """Bound twice: what is left of the bug of ``resflow_double_tanh``, ``tanh(s(mx) + mx)`` where s ends in a tanh.

    The skip adds the kept elements, which are 0 wherever the coupling transforms. The bug saturates nothing, then, and
    inverse and log-determinant stay right: the log-scale is bounded by tanh(1) = 0.76 instead of 1.
    """
    return torch.tanh(torch.tanh(raw))


SCALES: dict[str, ScaleFunction] = {  # named functions, so that a flow can be pickled
    "tanh": _tanh,
    "soft_clamp": _soft_clamp,
    "sigmoid": _sigmoid,
    "none": _none,
    "double_tanh": _double_tanh,
}


class LearnedTanh(nn.Module):
    """Bound the log-scale by ``b tanh(raw / b)``, with ``b > 0`` learned for each channel, 1 to begin with.

    A learned multiple of a tanh, as in Real NVP (Dinh et al. 2017, section 4.1), that is linear near 0 whatever b.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.log_bound = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, raw: Tensor) -> Tensor:
        bound = self.log_bound.exp()
        return bound * torch.tanh(raw / bound)


class MaskedCoupling(Bijector):
    """What couplings by a mask share: networks see the kept elements alone.

    Args:
        mask: Shape (*event), 1 where the input passes unchanged.
    """

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask, persistent=False)

    def _predicted_by(self, net: nn.Module, values: Tensor, context: Tensor | None) -> Tensor:
        """Return what a network predicts from the kept elements, in the dtype of the values.

        Networks may compute in a lower precision (autocast); from here on everything is in the dtype of the values.
        """
        kept = values * self.mask
        return (net(kept) if context is None else net(kept, context)).to(values.dtype)


class AffineCoupling(MaskedCoupling):
    """Scale and shift the masked-out elements, given the kept ones.

    ``z = m x + (1 - m) (x exp(s(m x)) + t(m x))`` with log-determinant ``sum((1 - m) s)``: only the transformed
    elements count.

    Args:
        mask: Shape (*event), 1 where the input passes unchanged.
        scale_net: Maps the kept elements, shape (batch, *event), to the raw log-scale of the same shape.
        shift_net: The same for the shift. None: ``scale_net`` predicts both, in twice as many channels, log-scales
            first.
        scale_activation: How the log-scale is bounded: ``tanh`` (by 1), ``soft_clamp`` (by 2), ``sigmoid`` (Glow's,
            scales in (0, 1)), ``none`` (training may overflow), ``double_tanh`` (an ablation); or a function of the
            raw log-scale.

    Raises:
        ConfigError: If ``scale_activation`` is unknown.
    """

    def __init__(
        self,
        mask: Tensor,
        scale_net: nn.Module,
        shift_net: nn.Module | None = None,
        scale_activation: str | ScaleFunction = "tanh",
    ) -> None:
        super().__init__(mask)
        if not callable(scale_activation) and str(scale_activation) not in SCALES:
            raise ConfigError(f"unknown scale_activation {scale_activation!r}; choose one of {', '.join(SCALES)}")
        self.scale_net = scale_net
        self.shift_net = shift_net
        self.scale_activation = scale_activation if callable(scale_activation) else SCALES[scale_activation]

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_scale, shift = self._parameters_given(x, context)
        return x * log_scale.exp() + shift, log_scale.flatten(1).sum(1)

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_scale, shift = self._parameters_given(z, context)
        return (z - shift) * (-log_scale).exp(), -log_scale.flatten(1).sum(1)

    def _parameters_given(self, values: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return log-scale and shift, both exactly zero on the kept elements; both directions call this."""
        raw = self._predicted_by(self.scale_net, values, context)
        if self.shift_net is None:
            raw, shift = raw.chunk(2, 1)
        else:
            shift = self._predicted_by(self.shift_net, values, context)
        free = 1 - self.mask
        return free * self.scale_activation(raw), free * shift


class AdditiveCoupling(MaskedCoupling):
    """Shift the masked-out elements, given the kept ones: volume is kept (Dinh et al. 2015, "NICE", section 3.2).

    Args:
        mask: Shape (*event), 1 where the input passes unchanged.
        shift_net: Maps the kept elements, shape (batch, *event), to the shift of the same shape.
    """

    def __init__(self, mask: Tensor, shift_net: nn.Module) -> None:
        super().__init__(mask)
        self.shift_net = shift_net

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x + self._shift_given(x, context), x.new_zeros(len(x))

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return z - self._shift_given(z, context), z.new_zeros(len(z))

    def _shift_given(self, values: Tensor, context: Tensor | None) -> Tensor:
        return (1 - self.mask) * self._predicted_by(self.shift_net, values, context)
