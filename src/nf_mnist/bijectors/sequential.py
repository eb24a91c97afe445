"""The composition of bijectors."""

from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

from nf_mnist.bijectors.base import Bijector
from nf_mnist.bijectors.pixel_grid import PixelGrid


class Sequential(Bijector):
    """The composition of bijectors; their log-determinants add up.

    Args:
        bijectors: Bijectors in order from data to latent.
    """

    def __init__(self, bijectors: Sequence[Bijector]) -> None:
        super().__init__()
        self.bijectors = nn.ModuleList(bijectors)

    def layers(self) -> list[Bijector]:
        """Return the bijectors in order."""
        return [cast(Bijector, bijector) for bijector in self.bijectors]

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        total = x.new_zeros(len(x))
        for bijector in self.layers():
            x, log_det = bijector(x, context)
            total = total + log_det
        return x, total

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        total = z.new_zeros(len(z))
        for bijector in reversed(self.layers()):
            z, log_det = bijector.inverse_and_log_det(z, context)
            total = total + log_det
        return z, total

    def uncounted_log_det(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        layers, total = self.layers(), x.new_zeros(len(x))
        for i, layer in enumerate(layers):
            total = total + layer.uncounted_log_det(x, context)
            if all(later.counts_log_det for later in layers[i + 1 :]):
                break
            x, _ = layer(x, context)
        return total

    def teacher_force(self, grid: PixelGrid) -> PixelGrid:
        for layer in self.layers():
            grid = layer.teacher_force(grid)
        return grid
