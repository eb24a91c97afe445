"""A flow whose layers are put into other orders, in which their weights may have been trained."""

from collections.abc import Iterator

import torch
from torch import nn

from nf_mnist.diagnostics.isolation import copied
from nf_mnist.flows import Flow

MIN_FOR_TEXT = 11  # numbers from 0 whose order as text differs from that as numbers


def reordered(flow: Flow) -> Iterator[tuple[str, Flow]]:
    """Yield copies of a flow in which weights of like layers are exchanged, each with what that says if it helps.

    Args:
        flow: The flow, which is left unchanged.
    """
    ways = {
        "layers have been loaded in the order of their names as text (1, 10, 11, 2)": _from_text,
        "layers have been stored in the order of their names as text (1, 10, 11, 2)": _to_text,
        "layers have been loaded in the opposite order": lambda names: names[::-1],
    }
    for how, order in ways.items():
        other = copied(flow)
        if sum(_exchange(container, order) for container in _containers(other)):
            yield how, other.train().eval()


def _containers(flow: nn.Module) -> list[nn.Module]:
    lists = [one for one in flow.modules() if isinstance(one, nn.ModuleList | nn.Sequential)]
    return [*lists, *(one for one in flow.modules() if one not in lists and _numbered(one))]


def _numbered(container: nn.Module) -> list[str]:
    return [name for name, _ in container.named_children() if name.isdecimal()]


def _from_text(names: list[str]) -> list[str]:
    """Return for each name the one whose weights it was meant to get, if layers were loaded in the order of text."""
    as_text = sorted(names)
    return [names[as_text.index(name)] for name in names]


def _to_text(names: list[str]) -> list[str]:
    as_text = sorted(names)
    return [as_text[names.index(name)] for name in names]


@torch.no_grad()
def _exchange(container: nn.Module, order: object) -> bool:
    """Give layers with weights those of others in the container; return whether that was possible."""
    assert callable(order)
    layers = {name: container.get_submodule(name) for name in _numbered(container)}
    layers = {name: layer for name, layer in layers.items() if any(True for _ in layer.parameters())}
    sources = dict(zip(layers, order([*layers]), strict=True))
    if all(name == source for name, source in sources.items()):
        return False
    tensors = {name: {key: one.clone() for key, one in _tensors(layer).items()} for name, layer in layers.items()}
    shapes = {name: {key: one.shape for key, one in own.items()} for name, own in tensors.items()}
    if any(shapes[name] != shapes[source] for name, source in sources.items()):
        return False
    for name, source in sources.items():
        for key, one in _tensors(layers[name]).items():
            one.copy_(tensors[source][key])
    return True


def _tensors(layer: nn.Module) -> dict[str, torch.Tensor]:
    """Return the parameters of a layer; what is no parameter, such as a mask, belongs to its place."""
    return {name: one.data for name, one in layer.named_parameters()}
