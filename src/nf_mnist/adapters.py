"""Adapters that turn flows built with normflows, nflows, zuko and FrEIA into bijectors of this project.

The adapters import none of these libraries; they call methods that the libraries' objects have. They change nothing:
latents keep their shape, and log-determinants keep their values and dtype, so that a diagnosis measures the library and
not the adapter. Bijectors of this project complete the flow::

    flow = Flow(Sequential([Logit(), FromNflows(transform), Flatten((4, 14, 14))]), (1, 28, 28))  # on images
    flow = Flow(Sequential([Logit(), Flatten((1, 28, 28)), FromZuko(zuko.flows.NSF(784))]), (1, 28, 28))  # on vectors

A function that returns such a flow can be trained: ``python -m nf_mnist.train flow._target_=my_module.build
trust=[my_module]``.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from nf_mnist.bijectors import Bijector, Shape
from nf_mnist.errors import ConfigError


class FromNormflows(Bijector):
    """A flow of normflows (Stimper et al. 2023), whose own forward runs from latent to data.

    In training, each pass from data to latent first takes the power iterations that keep its residual flows invertible;
    on their own they take none. Their buffers get their shapes in the first pass, or here from the saved weights.

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
        if self.training:
            self._bound_norms()
        z, log_det = self.to_latent(x, *_context_arguments(context))
        return _joined(z) if self.latent_shapes is not None else z, _per_event(log_det, x)

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        scales = z if self.latent_shapes is None else _split(z, self.latent_shapes)
        x, log_det = self.to_data(scales, *_context_arguments(context))
        return x, _per_event(log_det, z)

    def adapt_weights(self, weights: dict[str, Tensor]) -> None:
        """Give the vectors of power iterations the shapes that they have in weights that are about to be loaded.

        Args:
            weights: Weights by name.
        """
        for name, layer in _normed_layers(self):
            for vector in ("u", "v"):
                if (saved := weights.get(f"{name}.{vector}")) is not None:
                    getattr(layer, vector).resize_(saved.shape)

    def _bound_norms(self) -> None:
        for _, layer in _normed_layers(self):
            if layer.initialized:
                layer.compute_weight(update=True)


def _normed_layers(module: nn.Module) -> list[tuple[str, Any]]:
    """Return the layers of normflows whose norms are estimated, by name."""
    return [(name, layer) for name, layer in module.named_modules() if hasattr(layer, "compute_weight")]


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


class FromFrEIA(Bijector):
    """A network of FrEIA (Ardizzone et al. 2022), whose forward runs from data to latent, as in this project.

    Args:
        network: A ``SequenceINN`` or a ``GraphINN``. The outputs of a graph with several of them are concatenated to a
            flat latent.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        shapes = cast(Any, getattr(network, "global_out_shapes", []))
        self.latent_shapes: Sequence[Shape] | None = shapes if len(shapes) > 1 else None

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z, log_det = self.network(x, c=_context_arguments(context))
        return _joined(z) if self.latent_shapes is not None else z, _per_event(log_det, x)

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        outputs = z if self.latent_shapes is None else _split(z, self.latent_shapes)
        x, log_det = self.network(outputs, c=_context_arguments(context), rev=True)
        return x, _per_event(log_det, z)


def _joined(scales: Sequence[Tensor]) -> Tensor:
    """Concatenate the latents of several scales to a flat latent."""
    return torch.cat([scale.flatten(1) for scale in scales], 1)


def _split(z: Tensor, shapes: Sequence[Shape]) -> list[Tensor]:
    """Undo :func:`_joined`."""
    sizes = [torch.Size(shape) for shape in shapes]
    scales = z.split([size.numel() for size in sizes], 1)
    return [scale.reshape(len(z), *size) for scale, size in zip(scales, sizes, strict=True)]


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
