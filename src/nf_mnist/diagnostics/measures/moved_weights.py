"""Copies of a flow whose weights are moved: made small, or off their initial values."""

import math
from collections.abc import Mapping

import torch
from torch import nn

from nf_mnist.diagnostics.access.isolation import copied
from nf_mnist.diagnostics.measures.norms import running_norms

UNSETTLED = 0.1  # relative change of weights that are moved off their initial values


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
