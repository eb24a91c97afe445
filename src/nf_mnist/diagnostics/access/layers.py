"""The layers of a flow, each with the values that reach it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from nf_mnist.bijectors import Bijector
from nf_mnist.diagnostics.access.batch import Batch
from nf_mnist.diagnostics.access.forms import Bound, Direction, observed
from nf_mnist.diagnostics.access.isolation import copied
from nf_mnist.flows import Flow

WRAPPER = "inner"  # name of a user's whole map within the bijector that wraps it


class ReachedLayer(NamedTuple):
    """A layer and what it was called with.

    Attributes:
        name: Name of the layer in the flow's bijector.
        map: The layer with the further arguments of the call, as a map from data to latent.
        x: Values it was called with.
    """

    name: str
    map: Bound
    x: Tensor

    @property
    def layer(self) -> nn.Module:
        """The layer itself."""
        return self.map.owner

    @property
    def title(self) -> str:
        """Name and class of the layer."""
        return f"{self.name} ({type(self.layer).__name__})"


class WithContext(nn.Module):
    """A bijector with a fixed context, as the rules in :mod:`~nf_mnist.diagnostics.measures.contract` take it.

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
    """Return every layer inside a bijector, in the order in which their calls end: inner before outer ones.

    Layers may be written for any of the libraries whose :mod:`~nf_mnist.diagnostics.access.forms` are known.
    """
    reached: list[ReachedLayer] = []

    def recorder(name: str, layer: nn.Module) -> Callable[[Tensor, Direction, Direction], None]:
        def record(value: Tensor, to_latent: Direction, to_data: Direction) -> None:
            reached.append(ReachedLayer(name.removeprefix(f"{WRAPPER}."), Bound(layer, to_latent, to_data), value))

        return record

    hidden: list[tuple[nn.Module, str]] = []
    try:
        for name, layer in bijector.named_modules():
            if name and name != WRAPPER:
                hidden += [(layer, method) for method in observed(layer, recorder(name, layer))]
        bijector.forward_and_log_det(x, context)
    finally:
        for layer, method in hidden:
            vars(layer).pop(method, None)
    return reached


def first_layer(
    bijector: Bijector, x: Tensor, context: Tensor | None, is_faulty: Callable[[Bound, Tensor], bool]
) -> ReachedLayer | None:
    """Return the first layer, innermost first, that is faulty on the values that reach it; None if there is none.

    A layer that raises an exception is faulty, unless it has no inverse or no log-determinant to look at.
    """
    for reached in reached_layers(bijector, x, context):
        try:
            layer_is_faulty = is_faulty(reached.map, reached.x)
        except NotImplementedError:
            layer_is_faulty = False
        except Exception:  # a user's layer may fail in any way
            layer_is_faulty = True
        if layer_is_faulty:
            return reached
    return None


def innermost_layers(flow: Flow, batch: Batch) -> list[ReachedLayer]:
    """Return the layers of a copy of a flow that have no other layer inside, each with the values that reach it."""
    layers = reached_layers(copied(flow.bijector), batch.x.clone(), batch.context)
    names = [layer.name for layer in layers]
    return [layer for layer in layers if not any(name.startswith(f"{layer.name}.") for name in names)]
