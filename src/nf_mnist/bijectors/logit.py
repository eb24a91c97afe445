"""The logit map from the unit interval to the real line (Dinh et al. 2017, section 4.1)."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from nf_mnist.bijectors.base import Bijector
from nf_mnist.errors import ConfigError


class Logit(Bijector):
    """``y = logit(a + (1 - 2a) x)``, elementwise, for x in (0, 1).

    The inverse can leave [0, 1] by up to ``a / (1 - 2a)``, for latents that no image has.

    Args:
        alpha: Margin ``a`` in [0, 0.5) that keeps the logit finite at 0 and 1.
        count_log_det: Whether the log-determinant of this map is counted. If not, the "likelihood" is a density of
            logits in nats, and must never be called bits per dimension. Some published results use that convention.

    Raises:
        ConfigError: If alpha is outside [0, 0.5).
    """

    def __init__(self, alpha: float = 1e-5, count_log_det: bool = True) -> None:
        super().__init__()
        if not 0 <= alpha < 0.5:
            raise ConfigError(f"logit alpha must lie in [0, 0.5), got {alpha}")
        self.alpha = alpha
        self.count_log_det = count_log_det

    @property
    def counts_log_det(self) -> bool:
        return self.count_log_det

    def make_exact(self) -> None:
        super().make_exact()
        self.count_log_det = True

    def uncounted_log_det(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return x.new_zeros(len(x)) if self.count_log_det else Logit(self.alpha)(x)[1]

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        eps = torch.finfo(x.dtype).eps
        # Only images decoded through a saturated sigmoid reach these bounds; x moves by less than its resolution.
        squashed = (self.alpha + (1 - 2 * self.alpha) * x).clamp(eps**2, 1 - eps)
        y = torch.log(squashed) - torch.log1p(-squashed)
        return y, -self._log_det_of_sigmoid(y)

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return (torch.sigmoid(z) - self.alpha) / (1 - 2 * self.alpha), self._log_det_of_sigmoid(z)

    def _log_det_of_sigmoid(self, y: Tensor) -> Tensor:
        """Return log|det dx/dy| in nats, shape (batch,); zero if it is not counted."""
        if not self.count_log_det:
            return y.new_zeros(len(y))
        per_dim = -F.softplus(y) - F.softplus(-y) - math.log(1 - 2 * self.alpha)
        return per_dim.flatten(1).sum(1)
