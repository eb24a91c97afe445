"""A flow whose layers are put into other orders, in which their weights may have been trained."""

from collections.abc import Callable, Iterator

import torch
from torch import nn

from nf_mnist.diagnostics.isolation import copied
from nf_mnist.flows import Flow

Order = Callable[[list[str]], list[str]]


def reordered(flow: Flow) -> Iterator[tuple[str, Flow]]:
    """Yield copies of a flow in which weights of like layers are exchanged, each with what that says if it helps.

    Args:
        flow: The flow, which is left unchanged.
    """
    ways: dict[str, Order] = {
        "layers have been loaded in the order of their names as text (1, 10, 11, 2)": _from_text,
        "layers have been stored in the order of their names as text (1, 10, 11, 2)": _to_text,
        "layers have been loaded in the opposite order": lambda names: names[::-1],
    }
    for how, order in ways.items():
        other = copied(flow)
        if sum(_exchange(module, order) for module in other.modules()):
            yield how, other.train().eval()


def _from_text(names: list[str]) -> list[str]:
    """Return for each name the one whose weights it was meant to get, if layers were loaded in the order of text."""
    as_text = sorted(names)
    return [names[as_text.index(name)] for name in names]


def _to_text(names: list[str]) -> list[str]:
    as_text = sorted(names)
    return [as_text[names.index(name)] for name in names]


@torch.no_grad()
def _exchange(container: nn.Module, order: Order) -> bool:
    """Give numbered layers the parameters of others in the container; return whether that was possible.

    What is no parameter, such as a mask, belongs to its place.
    """
    numbered = {name: layer for name, layer in container.named_children() if name.isdecimal()}
    weights = {name: dict(layer.named_parameters()) for name, layer in numbered.items()}
    weights = {name: own for name, own in weights.items() if own}
    sources = dict(zip(weights, order([*weights]), strict=True))
    if all(name == source for name, source in sources.items()):
        return False
    shapes = {name: {key: value.shape for key, value in own.items()} for name, own in weights.items()}
    if any(shapes[name] != shapes[source] for name, source in sources.items()):
        return False
    kept = {name: {key: value.clone() for key, value in own.items()} for name, own in weights.items()}
    for name, source in sources.items():
        for key, value in weights[name].items():
            value.copy_(kept[source][key])
    return True
