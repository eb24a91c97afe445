"""What can be told from the weights of a flow alone: are all registered, are they at their initial values?"""

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from nf_mnist.diagnostics.isolation import copied
from nf_mnist.diagnostics.norms import running_norms

MIN_DRAWN = 64  # smallest number of weights whose distribution tells that they were just drawn
MIN_ROWS = 3  # of an orthogonal matrix: two directions may be orthogonal by chance
UNSETTLED = 0.1  # relative change of weights that are moved off their initial values


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
    initial values: none of these survives a step of training.
    """
    initial, moved = [], []
    for name, module in flow.named_modules():
        own = [value for value in module.parameters(recurse=False) if value.numel() > 1]
        matrices = [value for value in own if value.dim() > 1]
        if not matrices:
            continue
        if any(_is_constant(value) or _is_drawn(value) for value in matrices):
            initial.append(name)
        elif vectors := [value for value in own if value.dim() == 1]:
            if all(_is_constant(value) for value in vectors):
                initial.append(name)
            elif any(value.abs().max() > matrices[0][0].numel() ** -0.5 for value in vectors):
                moved.append(name)
        elif matrices[0].numel() >= MIN_DRAWN and not _is_normal(matrices[0]):
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
        if value.is_floating_point() or value.dim() != 1 or len(value) < 16:
            continue
        is_permutation = torch.equal(value.sort().values, torch.arange(len(value)).to(value))
        if is_permutation and len(value.diff().unique()) > len(value) / 4:
            found.append(name)
    return found


def unsaved_tensors(flow: nn.Module) -> dict[str, Tensor]:
    """Return tensors that a flow holds beside its state: buffers that are not persistent, and attributes."""
    saved = flow.state_dict().keys()
    found = {name: value for name, value in flow.named_buffers() if name not in saved}
    for name, module in flow.named_modules():
        found |= {f"{name}.{key}": value for key, value in vars(module).items() if isinstance(value, Tensor)}
    return found


@torch.no_grad()
def tamed(flow: nn.Module) -> nn.Module:
    """Return a copy with small weights: networks drawn anew, other parameters at most 1, statistics 0 and 1."""
    flow = copied(flow)
    generator = torch.Generator().manual_seed(0)
    for module in flow.modules():
        is_network = isinstance(module, nn.Linear | nn.modules.conv._ConvNd)
        for value in module.parameters(recurse=False):
            if is_network:
                drawn = torch.randn(value.shape, generator=generator)
                value.copy_(0.1 * drawn / math.sqrt(value[0].numel()))
            else:
                value.copy_(value.nan_to_num(0, 1, -1).clamp(-1, 1))
    for _, norm in running_norms(flow):
        norm.running_mean.zero_()
        norm.running_var.fill_(1)
    return flow.train().eval()  # which drops what layers keep of their earlier weights


@torch.no_grad()
def unsettled(flow: nn.Module, is_trainable: Mapping[str, bool]) -> nn.Module:
    """Return a copy whose trainable weights are moved a little.

    Initial values hide faults: a coupling whose last layer is zero is the identity, and the determinant of an
    orthogonal matrix is 1.

    Args:
        flow: The flow.
        is_trainable: Whether a parameter of this name is trained; the others are left alone.
    """
    flow = copied(flow)
    generator = torch.Generator().manual_seed(0)
    for name, value in flow.named_parameters():
        if is_trainable.get(name) and value.is_floating_point():
            noise = torch.randn(value.shape, generator=generator, dtype=torch.float64).to(value)
            value.add_(UNSETTLED * noise * (value.abs() + value.square().mean().sqrt() + 0.02) / 2)
    return flow.train().eval()


def is_random(value: Tensor) -> bool:
    """Return whether the numbers of a tensor look drawn or trained: many, and few of them alike."""
    return value.numel() >= MIN_DRAWN and len(value.detach().unique()) > value.numel() / 2


def _is_constant(value: Tensor) -> bool:
    return bool((value == value.flatten()[0]).all())


def _is_at(value: Tensor, number: float) -> bool:
    return value.numel() > 1 and bool((value == number).all())


def _is_drawn(weight: Tensor) -> bool:
    """Return whether a weight is uniform up to the bound of a usual initialization, or orthogonal."""
    if weight.numel() >= 9 and _is_orthogonal(weight):
        return True
    if weight.numel() < MIN_DRAWN:
        return False
    fan_in, size = weight[0].numel(), weight.numel()
    fan_out = len(weight) * weight[0, 0].numel()
    largest, deviation = weight.abs().max().item(), weight.std().item()
    for bound in (fan_in**-0.5, (6 / (fan_in + fan_out)) ** 0.5, (6 / fan_in) ** 0.5, (3 / fan_in) ** 0.5):
        if bound * (1 - 30 / size) <= largest <= bound * (1 + 1e-5) and abs(deviation * 3**0.5 / bound - 1) < 0.15:
            return True
    return False


def _is_orthogonal(weight: Tensor) -> bool:
    rows = weight.flatten(1).double()
    if min(rows.shape) < MIN_ROWS:
        return False
    gram = rows @ rows.T if len(rows) <= rows.shape[1] else rows.T @ rows
    scale = gram.diagonal().mean()
    return bool((gram - scale * torch.eye(len(gram)).to(gram)).abs().max() <= 1e-4 * scale)


def _is_normal(weight: Tensor) -> bool:
    """Return whether the kurtosis of weights is that of normal numbers, as many are drawn."""
    centred = weight.double() - weight.double().mean()
    kurtosis = centred.pow(4).mean() / centred.square().mean().square()
    return bool((kurtosis - 3).abs() < 5 * (24 / weight.numel()) ** 0.5 + 0.05)


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
