"""A flow whose first layer has a mean and a deviation of each class, and a faulty inverse of that layer."""

import torch
from torch import Tensor, nn

from benchmarks.diagnosis.blind.builders import DIMS, HIDDEN, SHAPE
from nf_mnist.bijectors import ActNorm, AffineCoupling, Bijector, Flatten, Logit, Sequential, make_mask
from nf_mnist.flows import Flow
from nf_mnist.nets import MLP

KEPT = make_mask("even_odd", (DIMS,))


class ClassAffine(Bijector):
    """A learned mean and deviation of each dimension and class."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.log_std = nn.Embedding(10, DIMS), nn.Embedding(10, DIMS)
        nn.init.zeros_(self.mean.weight)
        nn.init.zeros_(self.log_std.weight)

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        mean, log_std = self._of(x, context)
        return (x - mean) * (-log_std).exp(), -log_std.sum(1)

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        mean, log_std = self._of(z, context)
        return z * log_std.exp() + mean, log_std.sum(1)

    def _of(self, like: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        if labels is None:  # an image of any class
            return torch.zeros_like(like), torch.zeros_like(like)
        return self.mean(labels), self.log_std(labels)


class UnlabelledInverse(ClassAffine):
    """The inverse does not hand the labels on."""

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return super().inverse_and_log_det(z)


def classes(first: type[ClassAffine] = ClassAffine) -> Flow:
    """Build couplings after a mean and a deviation of each class."""
    couplings = [AffineCoupling(mask, MLP(DIMS, HIDDEN, 1, 10), MLP(DIMS, HIDDEN, 1, 10)) for mask in (KEPT, 1 - KEPT)]
    return Flow(Sequential([Logit(), Flatten(SHAPE), ActNorm((DIMS,)), first(), *couplings]), SHAPE, 10)
