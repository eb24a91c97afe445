"""How claimed log-determinants differ from exact ones over several events, and what that says about the mistake."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nf_mnist.diagnostics.access.invertible import Invertible
from nf_mnist.diagnostics.measures.jacobian import LogDet

N_CALLS, N_COPIES = 20, 16  # of an event whose log-determinant is an estimate
STANDARD_ERRORS = 5.0


class Estimate(NamedTuple):
    """The mean of an estimate in nats, and its standard error."""

    mean: float
    error: float


@torch.no_grad()
def estimated_log_det(bijector: Invertible, x: Tensor) -> Estimate:
    """Return the mean of an estimated log-determinant of one event, shape (1, *event), over many calls."""
    copies = x.expand(N_COPIES, *x.shape[1:]).contiguous()
    means = torch.stack([bijector.forward_and_log_det(copies)[1].double().mean() for _ in range(N_CALLS)])
    return Estimate(means.mean().item(), means.std().item() / math.sqrt(N_CALLS))


def explained(pairs: Sequence[LogDet], largest: Sequence[float], dims: int, is_right: Callable[[LogDet], bool]) -> str:
    """Say what is wrong with claimed log-determinants; empty if they tell nothing.

    Args:
        pairs: Claimed and exact log-determinants of events, of which at least one is wrong.
        largest: The largest absolute value in each event.
        dims: Number of elements of an event.
        is_right: Whether claimed and exact agree.
    """
    wrong = [pair for pair in pairs if not is_right(pair)]
    if not all(math.isfinite(pair.exact) for pair in wrong):
        return "the Jacobian is singular: the map is not one to one, or autograd does not see all of it"
    if 0 < len(wrong) < len(pairs):
        return _in_a_range(pairs, largest, is_right)
    return _relation(wrong, dims) or _constant(wrong, dims)


def _in_a_range(pairs: Sequence[LogDet], largest: Sequence[float], is_right: Callable[[LogDet], bool]) -> str:
    """Say that the log-determinant is wrong for large values only, such as those beyond the bound of a spline."""
    right = [value for value, pair in zip(largest, pairs, strict=True) if is_right(pair)]
    wrong = [value for value, pair in zip(largest, pairs, strict=True) if not is_right(pair)]
    counts = f"the log-determinant is right for {len(right)} of {len(pairs)} events"
    if min(wrong) > max(right):
        return (
            f"{counts} and wrong where values are large: right up to {max(right):.3g}, wrong at {min(wrong):.3g}; "
            "beyond some bound, such as that of a spline, the log-determinant is not that of the map"
        )
    return f"{counts}: it is wrong in a part of the space only"


def _relation(pairs: Sequence[LogDet], dims: int) -> str:
    """Say that claimed log-determinants are the same multiple of the exact ones; empty if they are not."""

    def close(factor: float) -> bool:
        return all(abs(pair.claimed * factor - pair.exact) <= 1e-5 * abs(pair.exact) for pair in pairs)

    if close(-1):
        return "the log-determinant's sign is wrong: it is that of the other direction"
    if all(pair.claimed == 0 for pair in pairs):
        return "the log-determinant is not counted: 0 is returned"
    if close(dims):
        return f"the log-determinant is averaged over the {dims} dimensions, and has to be summed: mean in place of sum"
    for factor in range(2, dims + 1):
        if close(factor):
            how = f"not summed over {factor} elements, or a mean in place of a sum"
            return f"the log-determinant is {factor} times too small: {how}"
        if close(1 / factor):
            return f"the log-determinant is {factor} times too large: counted {factor} times"
    return ""


def _constant(pairs: Sequence[LogDet], dims: int) -> str:
    """Say that the gap is the same for all events; empty if it varies, or if there is one event only."""
    gaps = [pair.exact - pair.claimed for pair in pairs]
    mean = sum(gaps) / len(gaps)
    if len(gaps) < 2 or max(gaps) - min(gaps) > 1e-4 * abs(mean):
        return ""
    return (
        f"the log-determinant is {abs(mean):.6g} nats too {'small' if mean > 0 else 'large'} for each image, "
        f"{abs(mean) / dims:.3g} a dimension: a term in which the image does not occur is wrong, such as the scale of "
        "a normalisation, the determinant of a matrix, or a factor in front of one"
    )
