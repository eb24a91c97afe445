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
    """Bound the log-scale by 2 with an arctangent, linear near 0 (Ardizzone et al. 2019, conditional INNs)."""
    return SOFT_CLAMP_BOUND * (2 / math.pi) * torch.atan(raw / SOFT_CLAMP_BOUND)


def _sigmoid(raw: Tensor) -> Tensor:
    return F.logsigmoid(raw + 2)


def _twice_sigmoid(raw: Tensor) -> Tensor:
    """Bound the scale by 2 with a sigmoid that is 1 at 0 (Kolesnikov et al. 2024, "Jet", section 3)."""
    return F.logsigmoid(raw) + math.log(2)


def _none(raw: Tensor) -> Tensor:
    return raw


def _double_tanh(raw: Tensor) -> Tensor:
    """Apply tanh twice: the effect of the bug that ``resflow_double_tanh`` keeps as an ablation.

    The bug was ``tanh(s(mx) + mx)`` with an s that ends in a tanh. The kept elements mx are 0 wherever the coupling
    transforms, so the sum changes nothing: inverse and log-determinant stay right, and the log-scale is bounded by
    tanh(1) = 0.76 instead of 1.
    """
    return torch.tanh(torch.tanh(raw))


SCALE_ACTIVATIONS: dict[str, ScaleFunction] = {  # named functions, so that a flow can be pickled
    "tanh": _tanh,
    "soft_clamp": _soft_clamp,
    "sigmoid": _sigmoid,
    "twice_sigmoid": _twice_sigmoid,
    "none": _none,
    "double_tanh": _double_tanh,
}


def scale_function(scale_activation: str | ScaleFunction) -> ScaleFunction:
    """Return a function that bounds log-scales, given itself or its name.

    Raises:
        ConfigError: If there is no function of this name.
    """
    if callable(scale_activation):
        return scale_activation
    if str(scale_activation) not in SCALE_ACTIVATIONS:
        raise ConfigError(
            f"unknown scale_activation {scale_activation!r}; choose one of {', '.join(SCALE_ACTIVATIONS)}"
        )
    return SCALE_ACTIVATIONS[str(scale_activation)]


class LearnedTanh(nn.Module):
    """Bound the log-scale by ``b tanh(raw / b)``, with a bound ``b > 0`` learned for each channel and initially 1.

    Real NVP also learns a multiple of a tanh (Dinh et al. 2017, section 4.1); this one has slope 1 at 0 for every b.

    Args:
        channels: Number of channels of the log-scale.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.log_bound = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, raw: Tensor) -> Tensor:
        bound = self.log_bound.exp()
        return bound * torch.tanh(raw / bound)


class MaskedCoupling(Bijector):
    """Base class of couplings by a mask, whose networks see only the kept elements.

    Args:
        mask: Shape (*event), 1 where the input passes unchanged.
    """

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask, persistent=False)

    def _predicted_by(self, net: nn.Module, values: Tensor, context: Tensor | None) -> Tensor:
        """Return the network's prediction from the kept elements, in the dtype of the values.

        Networks may compute in a lower precision (autocast); the maps themselves never do.
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
        shift_net: Maps the kept elements to the shift. If None, ``scale_net`` predicts both in twice as many channels,
            log-scales first.
        scale_activation: Function that bounds the raw log-scale, or its name: ``tanh`` (bound 1), ``soft_clamp`` (bound
            2), ``sigmoid`` (Glow's; scales in (0, 1)), ``twice_sigmoid`` (Jet's; scales in (0, 2)), ``none`` (training
            may overflow) or ``double_tanh`` (an ablation).

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
        self.scale_net = scale_net
        self.shift_net = shift_net
        self.scale_activation = scale_function(scale_activation)

    @torch.no_grad()
    def largest_log_scale(self, raw: float) -> float:
        return self.scale_activation(torch.full_like(self.mask, raw)[None]).max().item()

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
        is_transformed = 1 - self.mask
        return is_transformed * self.scale_activation(raw), is_transformed * shift


class AdditiveCoupling(MaskedCoupling):
    """Shift the masked-out elements, given the kept ones (Dinh et al. 2015, "NICE", section 3.2).

    The map preserves volume: its log-determinant is 0.

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
