"""Layers that map wrongly or have side effects. The docstring of each says what somebody did by mistake.

Each is a subclass of the correct layer, which becomes faulty when its class is replaced.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nf_mnist.bijectors import ActNorm, AffineCoupling, BatchNorm, FactorOut, Logit, Permutation, Squeeze
from nf_mnist.flows import Flow, StandardNormal


class ClampedLogit(Logit):
    """Clamped images away from 0 and 1 although the logit has a margin already."""

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return super().forward_and_log_det(x.clamp(0.01, 0.99), context)


class LogitInPlace(Logit):
    """Squashed the image in place."""

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x.mul_(1 - 2 * self.alpha).add_(self.alpha)
        y = torch.log(x) - torch.log1p(-x)
        return y, -self._log_det_of_sigmoid(y)


class PermutationAppliedTwice(Permutation):
    """Indexed by the order itself in the inverse, not by its inverse."""

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return z[:, self.order], z.new_zeros(len(z))


class PermutationRedrawn(Permutation):
    """Drew a random order in each call instead of once."""

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x[:, torch.randperm(x.shape[1])], x.new_zeros(len(x))

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return z[:, torch.randperm(z.shape[1]).argsort()], z.new_zeros(len(z))


class SqueezeInAnotherOrder(Squeeze):
    """Unsqueezed with the axes of block and channel exchanged."""

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        batch, channels, height, width = z.shape
        blocks = z.reshape(batch, channels // 4, 2, 2, height, width).permute(0, 1, 4, 3, 5, 2)
        return blocks.reshape(batch, channels // 4, 2 * height, 2 * width), z.new_zeros(batch)


class ShiftAfterScale(AffineCoupling):
    """Undid the scale before the shift in the inverse."""

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_scale, shift = self._parameters_given(z, context)
        return z * (-log_scale).exp() - shift, -log_scale.flatten(1).sum(1)


class ConditionerSeesAll(AffineCoupling):
    """Forgot to mask what the networks get."""

    def _parameters_given(self, values: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        assert self.shift_net is not None
        free = 1 - self.mask
        return free * self.scale_activation(self.scale_net(values)), free * self.shift_net(values)


class CouplingWithCache(AffineCoupling):
    """Kept the parameters of the last forward call for the inverse, to save a pass of the networks."""

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self.cache = tuple(part.detach() for part in self._parameters_given(x, context))
        return super().forward_and_log_det(x, context)

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_scale, shift = getattr(self, "cache", (z[:0], z[:0]))
        if len(log_scale) != len(z):
            log_scale, shift = self._parameters_given(z, context)
        return (z - shift) * (-log_scale).exp(), -log_scale.flatten(1).sum(1)


class CouplingInBFloat16(AffineCoupling):
    """Ran the whole coupling under autocast, the affine map included."""

    def _parameters_given(self, values: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        log_scale, shift = super()._parameters_given(values, context)
        return log_scale.bfloat16(), shift.bfloat16()

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z, log_det = super().forward_and_log_det(x.bfloat16(), context)
        return z.to(x), log_det.to(x)

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x, log_det = super().inverse_and_log_det(z.bfloat16(), context)
        return x.to(z), log_det.to(z)


class BatchNormAlwaysUpdating(BatchNorm):
    """Updated the running statistics without asking whether this is training."""

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self._training_moments(x)
        return super().forward_and_log_det(x, context)


class ActNormWithoutMemory(ActNorm):
    """Kept "already initialised" as a Python attribute, which no checkpoint stores, and did not ask for training."""

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if not getattr(self, "is_initialized", False):
            self.initialized.fill_(False)
            self._initialize_once(x)
            self.is_initialized = True
        return super().forward_and_log_det(x, context)


class SplitRedrawsLatents(FactorOut):
    """Drew the factored-out channels anew in the inverse, as for samples, although z holds them."""

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        factored = torch.randn_like(z[:, : torch.Size(self.factored_shape).numel()])
        return super().inverse_and_log_det(torch.cat([factored, z[:, factored.shape[1] :]], 1), context)


class SplitDropsLatents(FactorOut):
    """Padded the kept channels with zeros in the inverse."""

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        factored = torch.zeros_like(z[:, : torch.Size(self.factored_shape).numel()])
        return super().inverse_and_log_det(torch.cat([factored, z[:, factored.shape[1] :]], 1), context)


class DropoutAlways(nn.ReLU):
    """Used functional.dropout in the conditioners without passing ``training``, which is True by default."""

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(super().forward(x), 0.1)


class UnnormalizedBase(StandardNormal):
    """Left the constant out of the base's log-density: it does not matter for training."""

    def log_prob(self, z: Tensor) -> Tensor:
        return -0.5 * z.square().sum(1)


class UniformBase(StandardNormal):
    """Wrote rand where randn was meant."""

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        return torch.rand(n, self.dims, generator=generator)


class FlowAlwaysTraining(Flow):
    """Overrode train() and did not pass the mode on, so that eval() does nothing."""

    def train(self, mode: bool = True) -> "FlowAlwaysTraining":
        return super().train()
