"""Layers that map correctly but return a wrong log-determinant. Each docstring says what somebody did by mistake.

Each is a subclass of the correct layer without any state of its own, so that a correct layer becomes faulty when its
class is replaced.
"""

import math

import torch
from torch import Tensor

from nf_mnist.bijectors import ActNorm, AffineCoupling, BatchNorm, FactorOut, Logit, Sequential


class LogDetWithoutMask(AffineCoupling):
    """Summed the network's log-scales over all elements, including those that the mask keeps."""

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return super().forward_and_log_det(x, context)[0], self._raw(x)

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return super().inverse_and_log_det(z, context)[0], -self._raw(z)

    def _raw(self, values: Tensor) -> Tensor:
        kept = values * self.mask
        return self.scale_activation(self.scale_net(kept)).flatten(1).sum(1)


class LogDetOfWrongSign(ActNorm):
    """Took the log-determinant of dividing by the scale, but multiplies by it."""

    def _log_det(self, like: Tensor) -> Tensor:
        return -super()._log_det(like)


class LogDetMeanOverDims(AffineCoupling):
    """Took the mean over the event instead of the sum."""

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z, log_det = super().forward_and_log_det(x, context)
        return z, log_det / x[0].numel()

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x, log_det = super().inverse_and_log_det(z, context)
        return x, log_det / z[0].numel()


class LogDetMeanOverBatch(AffineCoupling):
    """Reduced the log-determinant over all axes and expanded it again, so that the shape looked right."""

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z, log_det = super().forward_and_log_det(x, context)
        return z, log_det.mean().expand(len(x))

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x, log_det = super().inverse_and_log_det(z, context)
        return x, log_det.mean().expand(len(z))


class LogDetWithoutPixels(BatchNorm):
    """Summed the log-scales of the channels, but did not multiply by height and width."""

    def _log_det(self, log_scale: Tensor, like: Tensor) -> Tensor:
        return log_scale.sum().expand(len(like))


class LogDetOfRestTwice(FactorOut):
    """Added the log-determinant of the coarser scales to a total that already held it."""

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z, log_det = super().forward_and_log_det(x, context)
        return z, 2 * log_det

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x, log_det = super().inverse_and_log_det(z, context)
        return x, 2 * log_det


class LogDetOverwritten(Sequential):
    """Assigned to the total inside the loop instead of adding to it."""

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        total = x.new_zeros(len(x))
        for bijector in self.layers():
            x, total = bijector(x, context)
        return x, total


class TotalMeanOverDims(Sequential):
    """Took the mean over the event instead of the sum, for the whole flow."""

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z, log_det = super().forward_and_log_det(x, context)
        return z, log_det / x[0].numel()


class LogDetInFloat32(Sequential):
    """Started the total with torch.zeros(n) and added in place, which gives float32 for any input."""

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        total = torch.zeros(len(x), dtype=torch.float32)
        for bijector in self.layers():
            x, log_det = bijector(x, context)
            total += log_det
        return x, total

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        total = torch.zeros(len(z), dtype=torch.float32)
        for bijector in reversed(self.layers()):
            z, log_det = bijector.inverse_and_log_det(z, context)
            total += log_det
        return z, total


class LogDetDetached(AffineCoupling):
    """Computed the log-determinant under no_grad to save memory."""

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z, log_det = super().forward_and_log_det(x, context)
        return z, log_det.detach()


class InverseLogDetOfForward(AffineCoupling):
    """Returned the forward log-determinant from the inverse, without its minus."""

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x, log_det = super().inverse_and_log_det(z, context)
        return x, -log_det


class LogitWithoutMargin(Logit):
    """Counted the logit, but not the scaling by 1 - 2a before it."""

    def _log_det_of_sigmoid(self, y: Tensor) -> Tensor:
        return super()._log_det_of_sigmoid(y) + y[0].numel() * math.log(1 - 2 * self.alpha)
