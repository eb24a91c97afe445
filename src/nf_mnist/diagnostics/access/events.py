"""Which events to look at: a fault may show for some images only."""

import torch
from torch import Tensor

from nf_mnist.bijectors.quantile_map import N_LEVELS, level_and_fraction
from nf_mnist.diagnostics.access.batch import Batch
from nf_mnist.diagnostics.access.layers import reached_layers
from nf_mnist.flows import Flow

CLOSEST = 1e-7  # to 0 or 1; the smallest dither is 6e-8
TEMPERATURE = 1.5  # of a sample, whose values lie further out than those of images


@torch.no_grad()
def telling_events(flow: Flow, batch: Batch, seed: int) -> list[Batch]:
    """Return single events: the first, the one of the largest z, one with large values within the flow, and a sample.

    A map that jumps from grey level to grey level has no derivative at the edge of a level, where the smallest dither
    and many decoded values lie. Its events are moved to the middle of their levels.

    Args:
        flow: The flow, in the precision of the batch.
        batch: Events to choose from.
        seed: Seed of the sample.
    """
    z, _ = flow.bijector.forward_and_log_det(batch.x.clone(), batch.context)
    layers = [layer.x for layer in reached_layers(flow.bijector, batch.x, batch.context)[1:]]
    inner = [_largest(values) for values in layers if len(values) == len(batch.x)]
    often = max(inner, key=inner.count) if inner else 0
    events = [batch.rows(slice(row, row + 1)) for row in dict.fromkeys([0, _largest(z), often])]
    events += _sample(flow, events[0], seed)
    return events if flow.bijector.is_continuous else [event._replace(x=_mid_level(event.x)) for event in events]


def _mid_level(x: Tensor) -> Tensor:
    level, _ = level_and_fraction(x)
    return (level + 0.5) / N_LEVELS


def _sample(flow: Flow, like: Batch, seed: int) -> list[Batch]:
    """Return a sample with the context of an event, or nothing if it is no image or too close to 0 or 1."""
    z = TEMPERATURE * flow.base.sample(1, torch.Generator().manual_seed(seed)).to(like.x)
    try:
        x, _ = flow.bijector.inverse_and_log_det(z, like.context)
    except Exception:  # the checks of the inverse report it
        return []
    return [like._replace(x=x)] if x.shape == like.x.shape and ((x > CLOSEST) & (x < 1 - CLOSEST)).all() else []


def _largest(values: Tensor) -> int:
    return int(values.flatten(1).abs().amax(1).nan_to_num(torch.inf).argmax())
