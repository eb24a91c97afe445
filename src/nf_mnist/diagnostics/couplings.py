"""What bounds the log-scales of affine couplings."""

import torch
from torch import nn

from nf_mnist.bijectors import AffineCoupling

HUGE = 100.0  # raw log-scale that no healthy network predicts


@torch.no_grad()
def largest_log_scale(flow: nn.Module) -> float | None:
    """Return what a raw log-scale of 100 becomes in the worst affine coupling; None if the flow has no such coupling.

    The result is a small number if the couplings bound their log-scales, and 100 if they do not.
    """
    couplings = [module for module in flow.modules() if isinstance(module, AffineCoupling)]
    found = [
        coupling.scale_activation(torch.full_like(coupling.mask, HUGE)[None]).max().item() for coupling in couplings
    ]
    return max(found, default=None)
