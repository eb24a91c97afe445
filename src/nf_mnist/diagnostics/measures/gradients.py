"""Whether autograd's gradient is that of what the flow computes. Training follows the gradient and nothing else."""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nf_mnist.diagnostics.access.isolation import copied, seeded
from nf_mnist.flows import Flow

STEPS = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4)  # of central differences, as shares of the size of each parameter
N_COARSE = 3  # steps of which two neighbours must agree; the finer ones serve where log p is steep
N_MOVED, MOVE = 40, 1e-3  # parameters that are moved one by one, and by which share of their size
RESOLVED = 0.05  # relative difference of slopes over two steps, above which they are rounding
MIN_SLOPE = 0.01  # nats along a whole direction; smaller slopes are compared as if they were this large


class Slope(NamedTuple):
    """How one term of log p, summed over events, changes along a direction of the parameters.

    Attributes:
        claimed: Slope from autograd in evaluation mode, in nats.
        in_training: Slope from autograd in training mode, in nats; NaN if it fails there.
        measured: Slopes from central differences over steps of increasing length, in nats.
        largest: Sum over all parameter tensors of the absolute value of their contribution, which sets the scale.
    """

    claimed: float
    in_training: float
    measured: tuple[float, ...]
    largest: float

    @property
    def rounding(self) -> float:
        """By how much the differences over the two longest steps differ: by rounding, or by kinks."""
        return abs(self.measured[-2] - self.measured[-1])

    @property
    def coarse(self) -> tuple[float, ...]:
        """The differences over the steps at which rounding is small."""
        return self.measured[-N_COARSE:]

    @property
    def is_resolved(self) -> bool:
        """Whether the differences over two consecutive steps agree, so that these are not rounding."""
        closest = min(abs(one - other) for one, other in pairwise(self.coarse))
        return closest <= RESOLVED * max(*map(abs, self.coarse), MIN_SLOPE)

    @property
    def error(self) -> float:
        """Difference of claimed and measured slope for the step at which it is least, relative to their scale.

        What may be rounding is not counted.
        """
        return self._error_of(self.claimed)

    @property
    def error_in_training(self) -> float:
        """The same for the slope from autograd in training mode."""
        return self._error_of(self.in_training)

    def _error_of(self, claimed: float) -> float:
        seen = [slope for slope in self.measured if slope] or [0.0]  # a fine step may be lost in rounding
        least = min(abs(claimed - slope) for slope in seen)
        return max(least - self.rounding, 0.0) / max(self.largest, abs(self.measured[-1]), MIN_SLOPE)


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
    flow = _trainable(flow)
    generator = torch.Generator().manual_seed(seed)
    along = {
        value: torch.randn(value.shape, generator=generator).to(value) * (value.detach().square().mean().sqrt() + 1e-3)
        for value in flow.parameters()
        if value.requires_grad
    }

    def terms() -> tuple[Tensor, Tensor]:
        return _terms(flow, x, context, seed)

    contributions = [_contributions(term, along) for term in terms()]
    in_training = _slopes_in_training(flow, x, context, seed, along)
    differences = [_differences(flow, terms, along, step) for step in STEPS]
    base, log_det = (
        Slope(sum(claimed), in_training[i], tuple(slopes[i] for slopes in differences), sum(map(abs, claimed)))
        for i, claimed in enumerate(contributions)
    )
    return Slopes(base, log_det)


def unreached_parameters(flow: Flow, x: Tensor, context: Tensor | None, term: str) -> list[str]:
    """Return the names of parameters that a term of log p depends on and that its gradient does not reach.

    Args:
        flow: The flow, in evaluation mode and float64; it is left unchanged.
        x: Images, shape (batch, *event).
        context: Context of the flow, or None.
        term: ``base`` or ``log_det``.
    """
    flow = _trainable(flow)
    names = {value: name.removeprefix("bijector.") for name, value in flow.named_parameters() if value.requires_grad}

    def value() -> Tensor:
        base, log_det = _terms(flow, x, context, 0)
        return base if term == "base" else log_det

    now = value()
    gradients = torch.autograd.grad(now, list(names), allow_unused=True) if now.requires_grad else [None] * len(names)
    still = [one for one, gradient in zip(names, gradients, strict=True) if gradient is None or not gradient.any()]
    found = []
    for one in still[:N_MOVED]:
        noise = torch.randn(one.shape, generator=torch.Generator().manual_seed(0)).to(one)
        along = {one: noise * (one.detach().square().mean().sqrt() + 1e-3)}
        with torch.no_grad():
            _move(flow, along, MOVE)
            is_felt = (value() - now).abs() > 1e-9 * now.abs()
            _move(flow, along, -MOVE)
        if is_felt:
            found.append(names[one])
    return found


def _trainable(flow: Flow) -> Flow:
    """Return a copy whose parameters all get gradients, but for whole numbers, which libraries keep orders in."""
    flow = copied(flow)
    for value in flow.parameters():
        value.requires_grad_(value.is_floating_point())
    return flow


def _terms(flow: Flow, x: Tensor, context: Tensor | None, seed: int) -> tuple[Tensor, Tensor]:
    with seeded(seed):
        z, log_det = flow.bijector.forward_and_log_det(x, context)
    return flow.base.log_prob(z).sum(), log_det.sum()


def _slopes_in_training(
    flow: Flow, x: Tensor, context: Tensor | None, seed: int, along: dict[nn.Parameter, Tensor]
) -> list[float]:
    """Return the slopes from autograd in training mode, in which some flows only have gradients."""
    used = copied(flow).train()
    trainable = [value for value in used.parameters() if value.requires_grad]
    same = dict(zip(trainable, along.values(), strict=True))
    try:
        return [sum(_contributions(term, same)) for term in _terms(used, x, context, seed)]
    except Exception:  # a user's flow may fail in any way
        return [math.nan, math.nan]


def _contributions(term: Tensor, along: dict[nn.Parameter, Tensor]) -> list[float]:
    """Return what each parameter contributes to the slope of a term, from autograd."""
    if not term.requires_grad:
        return []
    gradients = torch.autograd.grad(term, list(along), retain_graph=True, allow_unused=True)
    pairs = zip(gradients, along.values(), strict=True)
    return [(gradient * direction).sum().item() for gradient, direction in pairs if gradient is not None]


@torch.no_grad()
def _differences(
    flow: Flow, terms: Callable[[], tuple[Tensor, ...]], along: dict[nn.Parameter, Tensor], step: float
) -> list[float]:
    """Return the slopes of all terms from a central difference over a step."""
    at_both_sides = []
    for moves in (1, -2):  # to one side, and from there to the other
        _move(flow, along, moves * step)
        at_both_sides.append([term.item() for term in terms()])
    _move(flow, along, step)
    return [(above - below) / (2 * step) for above, below in zip(*at_both_sides, strict=True)]


def _move(flow: Flow, along: dict[nn.Parameter, Tensor], step: float) -> None:
    for value, direction in along.items():
        value.add_(direction, alpha=step)
    flow.train().eval()  # which drops what layers keep of their earlier weights
