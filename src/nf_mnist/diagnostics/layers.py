"""Which layer is it? A flow's layers, each with the values that reach it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from nf_mnist.bijectors import Bijector


class Reached(NamedTuple):
    """A layer and what it was called with."""

    name: str
    layer: Bijector
    x: Tensor
    context: Tensor | None

    @property
    def title(self) -> str:
        """The name and class of the layer."""
        return f"{self.name} ({type(self.layer).__name__})"


class WithContext(nn.Module):
    """A bijector with its context fixed: an object that every check of :mod:`~nf_mnist.diagnostics.contract` takes.

    Args:
        bijector: Any object with ``forward_and_log_det(x, context)`` and ``inverse_and_log_det(z, context)``.
        context: Of as many events as are ever passed, or None.
    """

    def __init__(self, bijector: Any, context: Tensor | None = None) -> None:
        super().__init__()
        self.bijector, self.context = bijector, context

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map data to latent under the context of the first events."""
        return self.bijector.forward_and_log_det(x, None if self.context is None else self.context[: len(x)])

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map latent to data under the context of the first events."""
        return self.bijector.inverse_and_log_det(z, None if self.context is None else self.context[: len(z)])


@torch.no_grad()
def reached_layers(bijector: Bijector, x: Tensor, context: Tensor | None = None) -> list[Reached]:
    """Return every bijector inside, in the order in which they finish: parts before what is made of them."""
    found: list[Reached] = []

    def record(name: str, layer: Bijector, args: tuple[Any, ...]) -> None:
        found.append(Reached(name, layer, args[0].clone(), args[1] if len(args) > 1 else None))

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
    return found


def first_layer(
    bijector: Bijector, x: Tensor, context: Tensor | None, is_faulty: Callable[[WithContext, Tensor], bool]
) -> Reached | None:
    """Return the first layer, innermost first, that is faulty on the values that reach it; None if none is alone.

    A layer that raises is faulty.
    """
    for reached in reached_layers(bijector, x, context):
        try:
            found = is_faulty(WithContext(reached.layer, reached.context), reached.x)
        except Exception:  # a user's layer may fail in any way
            found = True
        if found:
            return reached
    return None
