"""Whether autograd's gradient is that of what the flow computes: by it, and by nothing else, a flow learns."""

import copy
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nf_mnist.flows import Flow

STEP = 1e-6  # of a central difference, in units of the parameters' size
LEAST = 0.01  # nats along a whole direction, below which a slope is as good as none


class Slope(NamedTuple):
    """How a part of log p, summed over events, changes along a direction of the parameters, in nats.

    Attributes:
        claimed: By autograd.
        measured: By a central difference.
        largest: Sum of what each tensor of parameters is said to contribute, whatever the sign: what both are large by.
    """

    claimed: float
    measured: float
    largest: float

    @property
    def error(self) -> float:
        """Their difference as a share of what they are large by."""
        return abs(self.claimed - self.measured) / max(self.largest, abs(self.measured), LEAST)


class Slopes(NamedTuple):
    """Those of the two parts of log p, of which one is often much the larger."""

    base: Slope
    log_det: Slope


def slopes_of_log_p(flow: Flow, x: Tensor, context: Tensor | None, seed: int) -> Slopes:
    """Compare the gradient of log p with a central difference along a random direction of all parameters.

    Args:
        flow: In evaluation mode and float64; a copy is taken.
        x: Shape (batch, *event).
        context: Of the flow.
        seed: Of the direction.
    """
    flow = copy.deepcopy(flow).requires_grad_(True)
    generator = torch.Generator().manual_seed(seed)
    along = {
        value: torch.randn(value.shape, generator=generator).to(value) * (value.detach().square().mean().sqrt() + 1e-3)
        for value in flow.parameters()
    }

    def parts() -> tuple[Tensor, Tensor]:
        z, log_det = flow.bijector.forward_and_log_det(x, context)
        return flow.base.log_prob(z).sum(), log_det.sum()

    claimed = [_contributions(part, along) for part in parts()]
    measured = _differences(parts, along)
    return Slopes(
        *(
            Slope(sum(each), by_difference, sum(abs(one) for one in each))
            for each, by_difference in zip(claimed, measured, strict=True)
        )
    )


def _contributions(part: Tensor, along: dict[nn.Parameter, Tensor]) -> list[float]:
    """Return what each parameter contributes to the slope of a part, by autograd."""
    if not part.requires_grad:
        return []
    gradients = torch.autograd.grad(part, list(along), retain_graph=True, allow_unused=True)
    pairs = zip(gradients, along.values(), strict=True)
    return [(gradient * direction).sum().item() for gradient, direction in pairs if gradient is not None]


@torch.no_grad()
def _differences(parts: Callable[[], tuple[Tensor, ...]], along: dict[nn.Parameter, Tensor]) -> list[float]:
    """Return the slopes of all parts by a central difference; the parameters are moved."""
    found = []
    for sign in (1, -2):  # to one side, and from there to the other
        for value, direction in along.items():
            value.add_(direction, alpha=sign * STEP)
        found.append([part.item() for part in parts()])
    return [(above - below) / (2 * STEP) for above, below in zip(*found, strict=True)]
