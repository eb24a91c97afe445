"""Whether the numbers of a tensor are those that an initialization gives, and not those of a training."""

import torch
from torch import Tensor

MIN_DRAWN = 64  # smallest number of weights whose distribution tells that they were just drawn
MIN_ROWS = 3  # of an orthogonal matrix: two directions may be orthogonal by chance
LARGEST = {1.8: 3**0.5, 2.37: 2.28}  # of uniform numbers and of normal ones cut off at 2 deviations, by their kurtosis
NORMAL = 3.0  # kurtosis


def is_constant(value: Tensor) -> bool:
    """Return whether all numbers are the same."""
    return bool((value == value.flatten()[0]).all())


def is_random(value: Tensor) -> bool:
    """Return whether the numbers of a tensor look drawn or trained: many, and few of them alike."""
    return value.numel() >= MIN_DRAWN and len(value.detach().unique()) > value.numel() / 2


def is_drawn(weight: Tensor) -> bool:
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


def may_be_drawn(weight: Tensor) -> bool:
    """Return whether weights look drawn from a normal, a normal that is cut off, or a uniform distribution."""
    centred = weight.detach().double() - weight.detach().double().mean()
    deviation = centred.square().mean().sqrt()
    kurtosis = (centred / deviation).pow(4).mean().item()
    tolerance = 5 * (24 / weight.numel()) ** 0.5 + 0.05
    largest = (centred.abs().max() / deviation).item()
    is_cut_off = any(
        abs(kurtosis - expected) < tolerance and largest < 1.05 * bound for expected, bound in LARGEST.items()
    )
    return abs(kurtosis - NORMAL) < tolerance or is_cut_off


def _is_orthogonal(weight: Tensor) -> bool:
    rows = weight.flatten(1).double()
    if min(rows.shape) < MIN_ROWS:
        return False
    gram = rows @ rows.T if len(rows) <= rows.shape[1] else rows.T @ rows
    scale = gram.diagonal().mean()
    return bool((gram - scale * torch.eye(len(gram)).to(gram)).abs().max() <= 1e-4 * scale)
