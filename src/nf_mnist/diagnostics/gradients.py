"""Whether autograd's gradient is that of what the flow computes. Training follows the gradient and nothing else."""

import copy
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nf_mnist.flows import Flow

STEP = 1e-6  # of the central difference, as a share of the size of each parameter
MIN_SLOPE = 0.01  # nats along a whole direction; smaller slopes are compared as if they were this large


class Slope(NamedTuple):
    """How one term of log p, summed over events, changes along a direction of the parameters.

    Attributes:
        claimed: Slope from autograd, in nats.
        measured: Slope from a central difference, in nats.
        largest: Sum over all parameter tensors of the absolute value of their contribution, which sets the scale.
    """

    claimed: float
    measured: float
    largest: float

    @property
    def error(self) -> float:
        """Difference of the two slopes, relative to their scale."""
        return abs(self.claimed - self.measured) / max(self.largest, abs(self.measured), MIN_SLOPE)


class Slopes(NamedTuple):
    """The slopes of both terms of log p, one of which is often much the larger.

    Attributes:
        base: Slope of the log-density of the base.
        log_det: Slope of the log-determinant.
    """

    base: Slope
    log_det: Slope


def slopes_of_log_p(flow: Flow, x: Tensor, context: Tensor | None, seed: int) -> Slopes:
    """Compare the gradient of log p with a central difference along a random direction of all parameters.

    Args:
        flow: The flow, in evaluation mode and float64; it is left unchanged.
        x: Images, shape (batch, *event).
        context: Context of the flow, or None.
        seed: Seed of the direction.
    """
    flow = copy.deepcopy(flow).requires_grad_(True)
    generator = torch.Generator().manual_seed(seed)
    along = {
        value: torch.randn(value.shape, generator=generator).to(value) * (value.detach().square().mean().sqrt() + 1e-3)
        for value in flow.parameters()
    }

    def terms() -> tuple[Tensor, Tensor]:
        z, log_det = flow.bijector.forward_and_log_det(x, context)
        return flow.base.log_prob(z).sum(), log_det.sum()

    contributions = [_contributions(term, along) for term in terms()]
    differences = _differences(terms, along)
    base, log_det = (
        Slope(sum(claimed), measured, sum(map(abs, claimed)))
        for claimed, measured in zip(contributions, differences, strict=True)
    )
    return Slopes(base, log_det)


def _contributions(term: Tensor, along: dict[nn.Parameter, Tensor]) -> list[float]:
    """Return what each parameter contributes to the slope of a term, from autograd."""
    if not term.requires_grad:
        return []
    gradients = torch.autograd.grad(term, list(along), retain_graph=True, allow_unused=True)
    pairs = zip(gradients, along.values(), strict=True)
    return [(gradient * direction).sum().item() for gradient, direction in pairs if gradient is not None]


@torch.no_grad()
def _differences(terms: Callable[[], tuple[Tensor, ...]], along: dict[nn.Parameter, Tensor]) -> list[float]:
    """Return the slopes of all terms from a central difference. This moves the parameters."""
    at_both_sides = []
    for sign in (1, -2):  # to one side, and from there to the other
        for value, direction in along.items():
            value.add_(direction, alpha=sign * STEP)
        at_both_sides.append([term.item() for term in terms()])
    return [(above - below) / (2 * STEP) for above, below in zip(*at_both_sides, strict=True)]
