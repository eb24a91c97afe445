"""A flow that is put together otherwise, as it may have been when its weights were trained."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from nf_mnist.diagnostics.access.isolation import copied
from nf_mnist.diagnostics.measures.weights import is_permutation
from nf_mnist.flows import Flow

Order = Callable[[list[str]], list[str]]


def reordered(flow: Flow) -> Iterator[tuple[str, Flow]]:
    """Yield copies of a flow that was put together otherwise, each with what that says if it helps.

    Weights of like layers are exchanged, masks become their complements, and permutations are undone where they were
    done.

    Args:
        flow: The flow, which is left unchanged.
    """
    ways: dict[str, Callable[[nn.Module], bool]] = {
        "layers have been loaded in the order of their names as text (1, 10, 11, 2)": _in_order(_from_text),
        "layers have been stored in the order of their names as text (1, 10, 11, 2)": _in_order(_to_text),
        "layers have been loaded in the opposite order": _in_order(lambda names: names[::-1]),
        "couplings have the complements of the masks of the training": _complement_masks,
        "permutations are done where the training undid them": _invert_permutations,
    }
    for how, change in ways.items():
        other = copied(flow)
        if change(other):
            yield how, other.train().eval()


def _in_order(order: Order) -> Callable[[nn.Module], bool]:
    return lambda flow: sum(_exchange(module, order) for module in flow.modules()) > 0


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
