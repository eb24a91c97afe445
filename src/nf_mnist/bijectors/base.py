"""The contract of every bijector, and their composition."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import cast

from torch import Tensor, nn

Shape = tuple[int, ...]


class Bijector(nn.Module, ABC):
    """An invertible map from data ``x`` to latent ``z``, with its log-determinant.

    Each direction returns the log-determinant of the map that it has just applied, so the two are negatives of each
    other and ``log p(x) = log p(z) + log_det`` has a plus sign everywhere. Log-determinants are in nats, summed over
    the event (never averaged), of shape (batch,), in the dtype and on the device of the input. Inputs stay unchanged.
    """

    @abstractmethod
    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map data to latent.

        Args:
            x: Data, shape (batch, *event).
            context: What the map is conditioned on, or None.

        Returns:
            z, shape (batch, *event_out), and log|det dz/dx| in nats, shape (batch,).
        """

    @abstractmethod
    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map latent to data.

        Args:
            z: Latent, shape (batch, *event_out).
            context: What the map is conditioned on, or None.

        Returns:
            x, shape (batch, *event), and log|det dx/dz| in nats, shape (batch,).
        """

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Call :meth:`forward_and_log_det`, so that hooks and summaries see the map."""
        return self.forward_and_log_det(x, context)


class Sequential(Bijector):
    """The composition of bijectors, first to last in the direction from data to latent; their log-dets add up."""

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
