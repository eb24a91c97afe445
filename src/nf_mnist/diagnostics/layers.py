"""The layers of a flow, each with the values that reach it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from nf_mnist.bijectors import Bijector


class ReachedLayer(NamedTuple):
    """A layer and what it was called with.

    Attributes:
        name: Name of the layer in the flow's bijector.
        layer: The layer.
        x: Values it was called with.
        context: Context it was called with, or None.
    """

    name: str
    layer: Bijector
    x: Tensor
    context: Tensor | None

    @property
    def title(self) -> str:
        """Name and class of the layer."""
        return f"{self.name} ({type(self.layer).__name__})"


class WithContext(nn.Module):
    """A bijector with a fixed context, as the rules in :mod:`~nf_mnist.diagnostics.contract` take it.

    Args:
        bijector: Any object with ``forward_and_log_det(x, context)`` and ``inverse_and_log_det(z, context)``.
        context: Context of at least as many events as will be passed, or None.
    """

    def __init__(self, bijector: Any, context: Tensor | None = None) -> None:
        super().__init__()
        self.bijector, self.context = bijector, context

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map data to latent under the contexts of the first events."""
        return self.bijector.forward_and_log_det(x, None if self.context is None else self.context[: len(x)])

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map latent to data under the contexts of the first events."""
        return self.bijector.inverse_and_log_det(z, None if self.context is None else self.context[: len(z)])


@torch.no_grad()
def reached_layers(bijector: Bijector, x: Tensor, context: Tensor | None = None) -> list[ReachedLayer]:
    """Return every bijector inside another one, in the order in which their calls end: inner before outer ones."""
    reached: list[ReachedLayer] = []

    def record(name: str, layer: Bijector, args: tuple[Any, ...]) -> None:
        reached.append(ReachedLayer(name, layer, args[0].clone(), args[1] if len(args) > 1 else None))

    hooks = [
        layer.register_forward_hook(lambda layer, args, _, name=name: record(name, layer, args))
        for name, layer in bijector.named_modules()
        if isinstance(layer, Bijector) and name
    ]
    try:
        bijector(x, context)
    finally:
        for hook in hooks:
            hook.remove()
    return reached


def first_layer(
    bijector: Bijector, x: Tensor, context: Tensor | None, is_faulty: Callable[[WithContext, Tensor], bool]
) -> ReachedLayer | None:
    """Return the first layer, innermost first, that is faulty on the values that reach it; None if there is none.

    A layer that raises an exception is faulty.
    """
    for reached in reached_layers(bijector, x, context):
        try:
            layer_is_faulty = is_faulty(WithContext(reached.layer, reached.context), reached.x)
        except Exception:  # a user's layer may fail in any way
            layer_is_faulty = True
        if layer_is_faulty:
            return reached
    return None
