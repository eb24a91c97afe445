"""A fixed affine map of every element."""

import math

from torch import Tensor

from nf_mnist.bijectors.base import Bijector


class Rescale(Bijector):
    """``z = scale x + shift``, elementwise, with fixed numbers.

    Args:
        scale: Factor, not 0.
        shift: Number added.
    """

    def __init__(self, scale: float, shift: float) -> None:
        super().__init__()
        self.scale, self.shift = scale, shift

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.scale * x + self.shift, x.new_full((len(x),), self._log_det(x))

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return (z - self.shift) / self.scale, z.new_full((len(z),), -self._log_det(z))

    def _log_det(self, values: Tensor) -> float:
        return values[0].numel() * math.log(abs(self.scale))
