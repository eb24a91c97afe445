"""A flow that is put together otherwise, as it may have been when its weights were trained."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from nf_mnist.diagnostics.access.forms import PAIRS
from nf_mnist.diagnostics.access.isolation import copied
from nf_mnist.diagnostics.measures.weights import is_permutation
from nf_mnist.flows import Flow

Order = Callable[[list[str]], list[str]]
FIRST = (None, 0, 1)  # numbers of the first layer, where None stands for the names in the flow


def reordered(flow: Flow) -> Iterator[tuple[str, Flow]]:
    """Yield copies of a flow that was put together otherwise, each with what that says if it helps.

    Weights of like layers are exchanged, masks become their complements, permutations are undone where they were done,
    and lists of layers run backwards. Names of layers are those in the flow, or numbers from 0 or 1.

    Args:
        flow: The flow, which is left unchanged.
    """
    text = "layers have been {} in the order of their names as text (1, 10, 11, 2)"
    orders = ((text.format("loaded"), _from_text), (text.format("stored"), _to_text))
    ways: list[tuple[str, Callable[[nn.Module], bool]]] = [
        *((how, _in_order(order, first)) for how, order in orders for first in FIRST),
        ("layers have been loaded in the opposite order", _in_order(lambda names: names[::-1])),
        ("couplings have the complements of the masks of the training", _complement_masks),
        ("permutations are done where the training undid them", _invert_permutations),
        *((f"the layers of {name} were trained in the other direction", _turned(name)) for name in _lists(flow)),
    ]
    for how, change in ways:
        other = copied(flow)
        if change(other):
            yield how, other.train().eval()


def _in_order(order: Order, first: int | None = None) -> Callable[[nn.Module], bool]:
    return lambda flow: sum(_exchange(module, order, first) for module in flow.modules()) > 0


def _lists(flow: nn.Module) -> list[str]:
    return [name for name, module in flow.named_modules() if isinstance(module, nn.ModuleList)]


def _turned(name: str) -> Callable[[nn.Module], bool]:
    return lambda flow: _turn(flow.get_submodule(name))


def _turn(layers: Any) -> bool:
    """Exchange the directions and the order of listed layers; return whether all of them have two directions.

    Layers without parameters that stand first, such as a logit, stay as they are.
    """
    trained = [i for i, layer in enumerate(layers) if any(True for _ in layer.parameters())]
    if not trained:
        return False
    turned = layers[trained[0] :]
    pairs = [next((pair for pair in PAIRS if all(hasattr(layer, name) for name in pair)), None) for layer in turned]
    if None in pairs:
        return False
    for layer, pair in zip(turned, pairs, strict=True):
        assert pair is not None
        forward, inverse = (getattr(layer, name) for name in pair)
        vars(layer).update({pair[0]: inverse, pair[1]: forward})
    for i, layer in enumerate(reversed(turned), trained[0]):
        layers[i] = layer
    return True


@torch.no_grad()
def _complement_masks(flow: nn.Module) -> bool:
    """Exchange 0 and 1 in tensors that are called masks; return whether there are any."""
    masks = [value for name, value in _constants(flow) if "mask" in name and _is_binary(value)]
    for mask in masks:
        mask.copy_(1 - mask.to(torch.uint8))
    return bool(masks)


@torch.no_grad()
def _invert_permutations(flow: nn.Module) -> bool:
    """Replace tensors that are permutations by their inverses; return whether one has changed."""
    orders = [value for _, value in _constants(flow) if is_permutation(value)]
    are_new = [not torch.equal(order, order.argsort()) for order in orders]
    for order in orders:
        order.copy_(order.argsort())
    return any(are_new)


def _constants(flow: nn.Module) -> list[tuple[str, Tensor]]:
    """Return names and values of the tensors of all layers that are not trained: buffers and attributes, each once."""
    found = {}
    for module in flow.modules():
        for name, value in (*module.named_buffers(recurse=False), *vars(module).items()):
            if isinstance(value, Tensor) and not value.requires_grad:
                found[id(value)] = (name, value)
    return [*found.values()]


def _is_binary(value: Tensor) -> bool:
    return value.numel() > 1 and value.unique().tolist() == [0, 1]


def _from_text(names: list[str]) -> list[str]:
    """Return for each name the one whose weights it was meant to get, if layers were loaded in the order of text."""
    as_text = sorted(names)
    return [names[as_text.index(name)] for name in names]


def _to_text(names: list[str]) -> list[str]:
    as_text = sorted(names)
    return [as_text[names.index(name)] for name in names]


@torch.no_grad()
def _exchange(container: nn.Module, order: Order, first: int | None) -> bool:
    """Give numbered layers the parameters of others in the container; return whether that was possible.

    What is no parameter, such as a mask, belongs to its place.

    Args:
        container: The module whose children are layers.
        order: Returns the names in another order.
        first: Number of the first layer with parameters, or None for the names that layers have in the container.
    """
    numbered = {name: layer for name, layer in container.named_children() if name.isdecimal()}
    weights = {name: dict(layer.named_parameters()) for name, layer in numbered.items()}
    weights = {name: own for name, own in weights.items() if own}
    names = [*weights] if first is None else [str(first + i) for i in range(len(weights))]
    if first is not None and names == [*weights]:
        return False  # the same as without a number
    named = dict(zip(names, weights, strict=True))
    sources = dict(zip(weights, (named[name] for name in order(names)), strict=True))
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
