"""A map of labelled data as a map of the data of one class."""

import torch
from torch import Tensor

from nf_mnist.bijectors.base import Bijector


class GivenLabel(Bijector):
    """A bijector that is called with one and the same label, whatever its context.

    Args:
        bijector: A bijector whose context are labels, shape (batch,).
        label: The label; None for none at all, which means any class to networks that had some labels hidden.
    """

    def __init__(self, bijector: Bijector, label: int | None) -> None:
        super().__init__()
        self.bijector, self.label = bijector, label

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.bijector(x, self._labels(x))

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.bijector.inverse_and_log_det(z, self._labels(z))

    def uncounted_log_det(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return self.bijector.uncounted_log_det(x, self._labels(x))

    def _labels(self, x: Tensor) -> Tensor | None:
        return None if self.label is None else torch.full((len(x),), self.label, device=x.device)
