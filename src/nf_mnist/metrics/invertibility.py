"""Errors of the round trip from data to latent and back, as computed."""

import copy
from typing import NamedTuple

import torch
from torch import Tensor

from nf_mnist.flows import Flow

PRECISIONS = ("float32", "float64", "bf16")
LEVEL = 1 / 256  # one grey level, in the units of x


class RoundTrip(NamedTuple):
    """Errors of ``decode(encode(x))``.

    Attributes:
        largest: Largest absolute error, in grey levels.
        changed: Share of pixels that change their level: they come back more than half a level off, or as NaN.
    """

    largest: float
    changed: float


@torch.no_grad()
def round_trip_error(flow: Flow, x: Tensor, context: Tensor | None = None) -> Tensor:
    """Return the largest absolute error of ``decode(encode(x))`` for each image, shape (batch,).

    A map that is invertible on paper may not be invertible in float32: a large local Lipschitz constant in either
    direction magnifies rounding. The error is in units of x, where 1/256 is one grey level.
    """
    return (flow.decode(flow.encode(x, context), context) - x).abs().flatten(1).amax(1)


@torch.no_grad()
def round_trip(flow: Flow, x: Tensor, context: Tensor | None = None, precision: str = "float32") -> RoundTrip:
    """Measure the errors of ``decode(encode(x))`` in one of :data:`PRECISIONS`.

    Args:
        flow: Flow in evaluation mode.
        x: Data, prior samples or any other points of the unit cube, shape (batch, *event).
        context: Context of the flow, or None.
        precision: ``float32``; ``float64``, for which the flow is copied; or ``bf16``, networks under autocast.
    """
    if precision == "float64":
        flow, x = copy.deepcopy(flow).double(), x.double()
        context = context.double() if context is not None and context.is_floating_point() else context
    with torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bf16"):
        error = (flow.decode(flow.encode(x, context), context).to(x) - x).abs() / LEVEL
    return RoundTrip(error.max().item(), (~(error <= 0.5)).double().mean().item())
