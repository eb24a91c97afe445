"""Adapters that turn flows built with normflows, nflows and zuko into bijectors of this project.

The adapters import none of these libraries; they call methods that the libraries' objects have. They change nothing:
latents keep their shape, and log-determinants keep their values and dtype, so that a diagnosis measures the library and
not the adapter. Bijectors of this project complete the flow::

    flow = Flow(Sequential([Logit(), FromNflows(transform), Flatten((4, 14, 14))]), (1, 28, 28))  # on images
    flow = Flow(Sequential([Logit(), Flatten((1, 28, 28)), FromZuko(zuko.flows.NSF(784))]), (1, 28, 28))  # on vectors
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nf_mnist.bijectors import Bijector, Shape
from nf_mnist.errors import ConfigError


class FromNormflows(Bijector):
    """A flow of normflows (Stimper et al. 2023), whose own forward runs from latent to data.

    Args:
        flow: A ``NormalizingFlow``, a ``MultiscaleFlow``, or a single flow such as ``GlowBlock`` or ``Composite``.
        latent_shapes: Shapes of a ``MultiscaleFlow``'s latents, in the order of its bases; they are concatenated to a
            flat latent. None for every other flow.
    """

    def __init__(self, flow: nn.Module, latent_shapes: Sequence[Shape] | None = None) -> None:
        super().__init__()
        self.flow = flow
        self.latent_shapes = latent_shapes
        # Single flows return the log-determinant from forward and inverse, models only from the two longer names.
        self.to_data = _method(flow, "forward_and_log_det", "forward")
        self.to_latent = _method(flow, "inverse_and_log_det", "inverse")

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z, log_det = self.to_latent(x, *_context_arguments(context))
        if self.latent_shapes is not None:
            z = torch.cat([scale.flatten(1) for scale in z], 1)
        return z, _per_event(log_det, x)

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x, log_det = self.to_data(self._scales(z), *_context_arguments(context))
        return x, _per_event(log_det, z)

    def _scales(self, z: Tensor) -> Tensor | list[Tensor]:
        if self.latent_shapes is None:
            return z
        shapes = [torch.Size(shape) for shape in self.latent_shapes]
        scales = z.split([shape.numel() for shape in shapes], 1)
        return [scale.reshape(len(z), *shape) for scale, shape in zip(scales, shapes, strict=True)]


class FromNflows(Bijector):
    """A transform of nflows (Durkan et al. 2020), whose forward runs from data to latent, as in this project.

    Args:
        transform: A transform, such as ``CompositeTransform``.
    """

    def __init__(self, transform: nn.Module) -> None:
        super().__init__()
        self.transform = transform

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z, log_det = self.transform(x, *_context_arguments(context))
        return z, _per_event(log_det, x)

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x, log_det = _method(self.transform, "inverse")(z, *_context_arguments(context))
        return x, _per_event(log_det, z)


class FromZuko(Bijector):
    """A lazy flow or transform of zuko (Rozet et al. 2022), which makes a transform from data to latent per context.

    Args:
        lazy: A ``zuko.lazy.Flow``, whose base is ignored, or a ``zuko.lazy.LazyTransform``.
    """

    def __init__(self, lazy: nn.Module) -> None:
        super().__init__()
        self.lazy = lazy

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z, log_det = self._transform(context).call_and_ladj(x)
        return z, _per_event(log_det, x)

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x, log_det = self._transform(context).inv.call_and_ladj(z)
        return x, _per_event(log_det, z)

    def _transform(self, context: Tensor | None) -> Any:
        made = self.lazy(context)
        return getattr(made, "transform", made)  # a flow makes a distribution that has the transform


def _method(owner: Any, *names: str) -> Callable[..., Any]:
    """Return the first of these methods that an object has.

    Raises:
        ConfigError: If it has none of them.
    """
    for name in names:
        if callable(method := getattr(owner, name, None)):
            return method
    raise ConfigError(
        f"{type(owner).__name__} has no method {' or '.join(names)}; is it of the library it is said to be?"
    )


def _context_arguments(context: Tensor | None) -> tuple[Tensor, ...]:
    return () if context is None else (context,)


def _per_event(log_det: Tensor | float, like: Tensor) -> Tensor:
    """Return a constant or elementwise log-determinant as one of shape (batch,), in its own dtype."""
    if not isinstance(log_det, Tensor):
        return like.new_full((len(like),), log_det)
    return log_det.flatten(1).sum(1) if log_det.dim() > 1 else log_det.expand(len(like))
