"""Whether a map rounds the values that pass through it, and how coarsely."""

import torch
from torch import Tensor

from nf_mnist.diagnostics.access.invertible import Invertible

DTYPES = (torch.bfloat16, torch.float16, torch.float32)  # the coarsest first: float16 has most numbers of bfloat16
MOST = 0.99  # share of values that are representable, or do not move
STEPS = (1e-12, 1e-9, 1e-6, 1e-4)  # relative sizes of moves that a map must answer to


@torch.no_grad()
def rounds_to(bijector: Invertible, x: Tensor) -> str:
    """Say to what a map rounds its values; empty if it does not.

    Args:
        bijector: The map.
        x: Events in float64, shape (batch, *event).
    """
    if x.dtype != torch.float64:
        return ""
    z, _ = bijector.forward_and_log_det(x)
    for dtype in DTYPES:
        if not _is_of(x, dtype) and _is_of(z, dtype):
            return f"its values are those of {dtype}, though it is given numbers in float64".replace("torch.", "")
    still = [step for step in STEPS if _stays(bijector, x, z, step)]
    return f"its values do not change when its input moves by {max(still):g} of its size" if still else ""


@torch.no_grad()
def log_dets_round_to(bijector: Invertible, x: Tensor) -> str:
    """Say in which precision a map adds up its log-determinants, if that is a lower one; empty otherwise.

    Args:
        bijector: The map.
        x: At least two events in float64, shape (batch, *event).
    """
    _, log_det = bijector.forward_and_log_det(x)
    if x.dtype != torch.float64 or len(log_det.unique()) < len(x):
        return ""
    for dtype in DTYPES:
        if _is_of(log_det, dtype):
            return f"log-determinants are added up in {dtype}: all are numbers of it".replace("torch.", "")
    return ""


def _is_of(values: Tensor, dtype: torch.dtype) -> bool:
    return (values == values.to(dtype).to(values)).double().mean().item() > MOST


def _stays(bijector: Invertible, x: Tensor, z: Tensor, step: float) -> bool:
    moved, _ = bijector.forward_and_log_det(x * (1 + step))
    return (moved == z).double().mean().item() > MOST
