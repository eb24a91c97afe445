"""Where affine couplings take their log-scales from, and what bounds them."""

from typing import NamedTuple

import torch
from torch import nn

from nf_mnist.bijectors import AffineCoupling

HUGE = 100.0  # a raw log-scale that no healthy network predicts


class Scales(NamedTuple):
    """What the scale functions of a flow's affine couplings do, the worst of them.

    Attributes:
        bound: The log-scale that a raw one of 100 becomes: at most a few where something bounds it.
        bypass: How far the log-scale moves with the kept values when what the network predicts stays 0.
    """

    bound: float
    bypass: float


@torch.no_grad()
def scale_functions(flow: nn.Module) -> Scales | None:
    """Probe the scale functions of all affine couplings; None if the flow has none."""
    bounds, bypasses = [], []
    for coupling in flow.modules():
        if isinstance(coupling, AffineCoupling):
            zero = torch.zeros_like(coupling.mask)[None]
            bounds.append(coupling.scale(zero + HUGE, zero).max().item())
            moved = coupling.scale(zero, zero + 1) - coupling.scale(zero, zero)
            bypasses.append(moved.abs().max().item())
    return Scales(max(bounds), max(bypasses)) if bounds else None
