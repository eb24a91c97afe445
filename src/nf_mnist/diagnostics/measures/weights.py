"""What can be told from the weights of a flow alone: are all registered, are they at their initial values?"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from nf_mnist.diagnostics.measures.initial_values import MIN_DRAWN, is_constant, is_drawn, may_be_drawn
from nf_mnist.diagnostics.measures.norms import running_norms


class Weights(NamedTuple):
    """Names of the layers that have weights, by what their values show; the others show nothing.

    Attributes:
        initial: Layers at their initial values, as far as these are known.
        moved: Layers that are not at their initial values.
        norms: Layers whose running statistics are 0 and 1, as they begin.
        is_empty: Whether the flow has no parameters.
    """

    initial: list[str]
    moved: list[str]
    norms: list[str]
    is_empty: bool

    @property
    def are_initial(self) -> bool:
        """Whether nearly all layers are at their initial values."""
        return len(self.initial) > 9 * len(self.moved)

    @property
    def are_mixed(self) -> bool:
        """Whether at least a fifth of the layers are at their initial values and others are not."""
        return len(self.initial) >= 2 and len(self.moved) >= 2 and 4 * len(self.initial) >= len(self.moved)


@torch.no_grad()
def read_weights(flow: nn.Module) -> Weights:
    """Sort the layers of a flow by whether their weights are at their initial values.

    Constants, orthogonal matrices, and uniform numbers whose largest reaches the bound of a usual initialization are
    initial values: none of these survives a step of training. Only of torch's own layers is it known how else they may
    begin. Any other layer may begin anywhere, so that it is never said to have moved.
    """
    initial, moved = [], []
    for name, module in flow.named_modules():
        own = [value for value in module.parameters(recurse=False) if value.numel() > 1 and value.requires_grad]
        matrices = [value for value in own if value.dim() > 1]
        if not matrices:
            continue
        vectors = [value for value in own if value.dim() == 1]
        begin_so = any(is_constant(value) or is_drawn(value) for value in matrices)
        may_begin_so = bool(vectors) and all(map(is_constant, vectors)) and all(map(may_be_drawn, matrices))
        if begin_so or may_begin_so:
            initial.append(name)
        elif isinstance(module, nn.Linear | nn.modules.conv._ConvNd) and _has_moved(matrices[0], vectors):
            moved.append(name)
    norms = [name for name, norm in running_norms(flow) if _is_at(norm.running_mean, 0) and _is_at(norm.running_var, 1)]
    return Weights(initial, moved, norms, not any(True for _ in flow.parameters()))


def unregistered_parts(flow: nn.Module) -> list[str]:
    """Return the names of modules and parameters that torch does not know of: those in plain lists and attributes."""
    known = {id(part) for part in (*flow.modules(), *flow.parameters(), *flow.buffers())}
    found: list[str] = []
    for name, module in flow.named_modules():
        for key, value in vars(module).items():
            if key not in {"_parameters", "_buffers", "_modules"}:
                found += [f"{name}.{key}".removeprefix(".") for part in _parts(value) if id(part) not in known]
    return found


def random_permutations_not_saved(flow: nn.Module) -> list[str]:
    """Return the names of index tensors that permute in no evident order and are not in the state of the flow."""
    found = []
    for name, value in unsaved_tensors(flow).items():
        if is_permutation(value) and len(value) >= 16 and len(value.diff().unique()) > len(value) / 4:
            found.append(name)
    return found


def is_permutation(value: Tensor) -> bool:
    """Return whether a tensor is a vector that has each of the first whole numbers once."""
    is_index = value.dim() == 1 and len(value) > 1 and not value.is_floating_point() and value.dtype != torch.bool
    return is_index and torch.equal(value.sort().values, torch.arange(len(value)).to(value))


def constants_not_saved(flow: nn.Module) -> dict[str, float]:
    """Return the numbers with a fraction that are all 0 or all 1 and not in the state of the flow, by their names.

    A mean and a deviation begin so, and are so again after loading if they are not saved.
    """
    unsaved = {name: value for name, value in unsaved_tensors(flow).items() if value.is_floating_point()}
    return {name: number for name, value in unsaved.items() for number in (0.0, 1.0) if _is_at(value, number)}


def unsaved_tensors(flow: nn.Module) -> dict[str, Tensor]:
    """Return what a flow holds beside its state: buffers that are not persistent, and attributes.

    Attributes are tensors, or arrays and lists of numbers, which are returned as tensors.
    """
    saved = flow.state_dict().keys()
    found = {name: value for name, value in flow.named_buffers() if name not in saved}
    for name, module in flow.named_modules():
        own = {f"{name}.{key}": _as_tensor(value) for key, value in vars(module).items()}
        found |= {key: value for key, value in own.items() if value is not None}
    return found


def _as_tensor(value: Any) -> Tensor | None:
    """Return a tensor, or an array or a list of numbers as one; None for anything else."""
    if isinstance(value, Tensor):
        return value
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return torch.from_numpy(value.copy())
    is_list = isinstance(value, list | tuple) and value and all(type(one) in (int, float) for one in value)
    return torch.tensor(value) if is_list else None


def _is_at(value: Tensor, number: float) -> bool:
    return value.numel() > 1 and bool((value == number).all())


def _has_moved(weight: Tensor, vectors: list[Tensor]) -> bool:
    """Return whether no initialization draws these: biases beyond torch's bound, or weights of another distribution."""
    if any(value.abs().max() > weight[0].numel() ** -0.5 for value in vectors):
        return True
    return not vectors and weight.numel() >= MIN_DRAWN and not may_be_drawn(weight)


def _parts(value: Any, depth: int = 4) -> Iterator[nn.Module | Tensor]:
    """Yield modules, and tensors to be trained, in an attribute: itself, or in lists and objects that it holds."""
    if isinstance(value, nn.Module):
        yield value
    elif isinstance(value, Tensor):
        if isinstance(value, nn.Parameter) or (value.requires_grad and value.is_leaf):
            yield value
    elif isinstance(value, list | tuple | set | dict) and depth:
        for part in list(value.values()) if isinstance(value, dict) else value:
            yield from _parts(part, depth - 1)
    elif type(value).__module__.partition(".")[0] not in {"builtins", "torch"} and hasattr(value, "__dict__") and depth:
        yield from _parts(vars(value), depth - 1)
