"""The contract that every bijector follows."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nf_mnist.bijectors.pixel_grid import PixelGrid
from nf_mnist.errors import ConfigError

Shape = tuple[int, ...]


class Bijector(nn.Module, ABC):
    """An invertible map from data ``x`` to latent ``z``, with its log-determinant.

    Each direction returns the log-determinant of the map that it has just applied. The two are therefore negatives of
    each other, and ``log p(x) = log p(z) + log_det`` has a plus sign everywhere. Log-determinants are in nats, summed
    over the event (never averaged), of shape (batch,), in the dtype and on the device of the input. Inputs are never
    changed in place.

    A bijector also states its own properties: :attr:`is_continuous`, :attr:`counts_log_det`, :attr:`estimates_log_det`
    and :attr:`is_autoregressive`. A bijector that is made of others (:meth:`parts`) answers for all of them.

    Attributes:
        recompute: Whether the backward pass recomputes activations instead of storing them (Chen et al. 2016, "Training
            deep nets with sublinear memory cost"). This takes less memory and about a third more time.
    """

    recompute = False

    @abstractmethod
    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map data to latent.

        Args:
            x: Data, shape (batch, *event).
            context: Labels, observed pixels or whatever else the map is conditioned on; None without conditioning.

        Returns:
            z, shape (batch, *event_out), and log|det dz/dx| in nats, shape (batch,).
        """

    @abstractmethod
    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map latent to data.

        Args:
            z: Latent, shape (batch, *event_out).
            context: The same context as for :meth:`forward_and_log_det`.

        Returns:
            x, shape (batch, *event), and log|det dx/dz| in nats, shape (batch,).
        """

    def parts(self) -> list["Bijector"]:
        """Return the bijectors that this one is directly made of; an empty list for a single map."""
        return list(_nearest_bijectors(self))

    @property
    def is_continuous(self) -> bool:
        """Whether the map and its log-determinant are continuous in x.

        If they are not, the density jumps, for example from grey level to grey level, and the gradient with respect to
        x does not show the jumps.
        """
        return all(part.is_continuous for part in self.parts())

    @property
    def counts_log_det(self) -> bool:
        """Whether the returned log-determinants are complete, with no layer left out."""
        return all(part.counts_log_det for part in self.parts())

    @property
    def estimates_log_det(self) -> bool:
        """Whether log-determinants are unbiased estimates, drawn anew in each call from the global random state."""
        return any(part.estimates_log_det for part in self.parts())

    @property
    def is_autoregressive(self) -> bool:
        """Whether pixels are predicted one after another, so that :meth:`teacher_force` can supply observed ones."""
        return any(part.is_autoregressive for part in self.parts())

    def fit(self, levels: Tensor) -> None:
        """Fit distributions that are counted, not trained, to the training images. Most bijectors have none.

        Training calls this once, before its first step.

        Args:
            levels: Grey levels, shape (n, *event) and dtype uint8.
        """
        for part in self.parts():
            part.fit(levels)

    def make_exact(self) -> None:
        """Switch to complete log-determinants and stored activations, so that the exact Jacobian can be compared."""
        self.recompute = False
        for part in self.parts():
            part.make_exact()

    def largest_log_scale(self, raw: float) -> float | None:
        """Return the largest log-scale of the map when networks predict a raw log-scale; None if they predict none.

        Args:
            raw: The raw log-scale, a large number. The result is small if log-scales are bounded, else as large.
        """
        scales = (part.largest_log_scale(raw) for part in self.parts())
        return max((scale for scale in scales if scale is not None), default=None)

    def lipschitz_bound(self) -> float | None:
        """Return a bound of the Lipschitz constants of residual networks, which must be below 1; None without any."""
        bounds = (part.lipschitz_bound() for part in self.parts())
        return max((bound for bound in bounds if bound is not None), default=None)

    def uncounted_log_det(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the part of the log-determinant that :meth:`forward_and_log_det` omits, in nats, shape (batch,).

        Raises:
            NotImplementedError: If a part is omitted and the class does not override this method.
        """
        if not self.counts_log_det:
            raise NotImplementedError(f"{type(self).__name__} does not define the log-determinant that it omits")
        return x.new_zeros(len(x))

    def teacher_force(self, grid: PixelGrid) -> PixelGrid:
        """From now on, take the levels of observed pixels from the context instead of predicting them.

        The context is then an observed image, shape (batch, 2, height, width); see :class:`ObservedPixels`.

        Args:
            grid: Positions of the pixels of x in the observed image.

        Returns:
            Positions of the pixels of z; the given grid if z is flat.

        Raises:
            ConfigError: If the map does not predict pixels one after another.
        """
        raise ConfigError("observed pixels can be forced on model=hierarchical only; elsewhere pixels have no order")

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Call :meth:`forward_and_log_det`; hooks, summaries and ``torch.compile`` see modules only when called."""
        if not (self.recompute and torch.is_grad_enabled()):
            return self.forward_and_log_det(x, context)
        contexts = nullcontext(), _FrozenStatistics(self)  # for the first computation and for the second
        return checkpoint(self.forward_and_log_det, x, context, use_reentrant=False, context_fn=lambda: contexts)


def _nearest_bijectors(module: nn.Module) -> Iterator[Bijector]:
    for child in module.children():
        if isinstance(child, Bijector):
            yield child
        else:
            yield from _nearest_bijectors(child)


class _FrozenStatistics(AbstractContextManager):
    """Keep the running statistics of batch normalization as they are: they already include this batch."""

    def __init__(self, module: nn.Module) -> None:
        self.norms = [layer for layer in module.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]

    def __enter__(self) -> None:
        self.momenta = [norm.momentum for norm in self.norms]
        for norm in self.norms:
            norm.momentum = 0.0

    def __exit__(self, *exception: object) -> None:
        for norm, momentum in zip(self.norms, self.momenta, strict=True):
            norm.momentum = momentum
