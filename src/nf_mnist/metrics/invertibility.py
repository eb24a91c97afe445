"""Does the inverse undo the forward map, as computed?"""

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
        largest: The largest, in grey levels.
        changed: Share of pixels that come back more than half a level off, or as no number: other pixels than before.
    """

    largest: float
    changed: float


@torch.no_grad()
def round_trip_error(flow: Flow, x: Tensor, context: Tensor | None = None) -> Tensor:
    """Return the largest absolute error of ``decode(encode(x))`` for each image, shape (batch,).

    Invertible on paper is not invertible in float32: a large local Lipschitz constant in either direction magnifies
    rounding. The error is in the units of x, where 1/256 is one grey level.
    """
    return (flow.decode(flow.encode(x, context), context) - x).abs().flatten(1).amax(1)


@torch.no_grad()
def round_trip(flow: Flow, x: Tensor, context: Tensor | None = None, precision: str = "float32") -> RoundTrip:
    """Measure the errors of ``decode(encode(x))`` in one of :data:`PRECISIONS`.

    Args:
        flow: In evaluation mode.
        x: Data, prior samples or anything else in the unit cube, shape (batch, *event).
        context: Of the flow.
        precision: ``float64`` works on a copy of the flow; ``bf16`` runs the networks under autocast.
    """
    if precision == "float64":
        flow, x = copy.deepcopy(flow).double(), x.double()
        context = context.double() if context is not None and context.is_floating_point() else context
    with torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bf16"):
        error = (flow.decode(flow.encode(x, context), context).to(x) - x).abs() / LEVEL
    return RoundTrip(error.max().item(), (~(error <= 0.5)).double().mean().item())
