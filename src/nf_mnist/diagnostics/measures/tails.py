"""What layers do to values far out: some squash them into an interval, and splines leave them as they are."""

import torch
from torch import Tensor

from nf_mnist.diagnostics.access.batch import Batch
from nf_mnist.diagnostics.access.invertible import Invertible
from nf_mnist.diagnostics.access.layers import innermost_layers
from nf_mnist.flows import Flow

FAR = (1e3, 1e5)  # times the values that reach a layer
SETTLED = 1e-3  # of the range of the outputs, by which they may still grow
LEAST_TRANSFORMED = 0.1  # of the values, by a layer that is asked about
NEAR = 0.1  # times the values that reach a spline: most are within its bounds


@torch.no_grad()
def ends_of(bijector: Invertible, x: Tensor) -> tuple[float, float] | None:
    """Return the least and the largest output of a map that squashes all numbers into an interval; None for others.

    A map that cuts values off returns the ends themselves for some events, and is one of the others.

    Args:
        bijector: The map.
        x: Events, shape (batch, *event).
    """
    try:
        z, far, farther = (bijector.forward_and_log_det(factor * x)[0] for factor in (1.0, *FAR))
    except Exception:  # a user's layer may refuse values beyond its domain
        return None
    if not (far.isfinite().all() and farther.isfinite().all()):
        return None
    ends = far.min().item(), far.max().item()
    has_settled = (farther - far).abs().max().item() <= SETTLED * (ends[1] - ends[0])
    is_between = bool(((z > ends[0]) & (z < ends[1])).all())
    return ends if has_settled and is_between else None


@torch.no_grad()
def beyond_bounds(flow: Flow, batch: Batch) -> tuple[str, float]:
    """Return the layer that leaves most values as they are for being too large, and their share.

    A value counts if a layer returns it unchanged and would change it if all values were a tenth as large. Values that
    a mask lets pass do not count.

    Args:
        flow: The flow, in evaluation mode.
        batch: Images.
    """
    found = ("", 0.0)
    for layer in innermost_layers(flow, batch):
        passes = [_passes(layer.map, factor * layer.x) for factor in (1.0, NEAR)]
        if passes[0] is None or passes[1] is None or (~passes[1]).double().mean() < LEAST_TRANSFORMED:
            continue
        share = passes[0][~passes[1]].double().mean().item()
        found = max(found, (layer.title, share), key=lambda pair: pair[1])
    return found


def _passes(bijector: Invertible, x: Tensor) -> Tensor | None:
    """Return which values a map leaves as they are; None if its outputs have another shape, or if it refuses them."""
    try:
        z, _ = bijector.forward_and_log_det(x)
    except Exception:  # a user's layer may refuse values beyond its domain
        return None
    return z == x if z.shape == x.shape else None
