"""What is wrong with a base distribution, or with latents as draws of it."""

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from nf_mnist.diagnostics.base import Measurement
from nf_mnist.diagnostics.measures.prior import Prior, draws, excess_by_sums, in_double

LOGISTIC_STD = math.pi / math.sqrt(3)
MIN_GAIN = 0.005  # nats per dimension; a logistic distribution gains 0.014 on the normal of its deviation
SCALE_ERROR = 0.1  # relative error of the standard deviation
SUM_ERROR = 0.3  # nats per dimension by which the integral of a base with heavy tails may err
STANDARD_ERRORS, MOMENT_ERROR = 6.0, 0.02  # of the moment of a score, the second relative
NOT_NORMALIZED = (
    "the log-density of the base is not normalized: a constant is missing, of a standard normal log(2 pi) / 2, or the "
    "weights of a mixture do not add up to 1",
    "add -dims / 2 * log(2 pi), less the log-scales; take weights from a softmax",
)
NOT_OF_THE_DRAWS = (
    "the log-density of the base is not that of what it draws: it does not integrate to 1, as where its mean is "
    "predicted from z itself, or the two use other parameters",
    "predict parameters of the base from what is drawn before, and use the same ones in log_prob and in sample",
)
NOT_COUNTED = (
    "the log-density of the base leaves out dimensions of z",
    "count every dimension: what is factored out has a density, too",
)


def wrong_base(base: Any, dims: int, prior: Prior) -> Measurement | None:
    """Return by how many nats per dimension, at least, a base's log-density is none, and why; None if not at all.

    Args:
        base: An object with ``log_prob(z)`` and ``sample(n, generator)``.
        dims: Number of dimensions of a latent.
        prior: What is known of it.
    """
    if prior.excess is not None:
        return _not_normalized(prior.excess, dims, 1e-4)
    if n_silent := uncounted_dimensions(base, dims):
        text = f"{n_silent} of {dims} dimensions of z do not change the density of the base"
        return Measurement(n_silent / dims, text, *NOT_COUNTED)
    if wrong := _not_normalized(excess_by_sums(base) or 0.0, dims, SUM_ERROR):
        return wrong
    moment = moment_of_the_score(base)
    if moment is None or abs(moment.mean + dims) <= max(STANDARD_ERRORS * moment.error, MOMENT_ERROR * dims):
        return None
    text = f"over draws of the base, z times the slope of its log-density has the mean {moment.mean:.4g}, not {-dims}"
    return Measurement(abs(moment.mean / dims + 1), text, *NOT_OF_THE_DRAWS)


def _not_normalized(excess: float, dims: int, error: float) -> Measurement | None:
    off = abs(excess) / dims
    if off <= error:
        return None
    text = f"the density of the base integrates to exp({off * dims:.4g}), {off:.3g} nats per dimension off"
    return Measurement(off, text, *NOT_NORMALIZED)


def is_logistic(z: Tensor) -> bool:
    """Return whether latents are likelier as standard logistic numbers than as normal ones of any scale.

    Args:
        z: Latents, shape (n, dims).
    """
    z = z.double()
    scale = z.square().mean().sqrt().item()
    if not abs(scale / LOGISTIC_STD - 1) < SCALE_ERROR:
        return False
    as_normal = -0.5 * (1 + math.log(2 * math.pi)) - math.log(scale)
    as_logistic = (-z.abs() - 2 * F.softplus(-z.abs())).mean().item()
    return as_logistic - as_normal > MIN_GAIN


class Moment(NamedTuple):
    """A mean over draws, and its standard error."""

    mean: float
    error: float


def moment_of_the_score(base: Any) -> Moment | None:
    """Return the mean of ``z * grad log p(z)``, summed over dimensions, over draws of a base; None if it has no slope.

    It is minus the number of dimensions for any density that falls to 0 at infinity (Stein's identity, by partial
    integration), if the draws have that density.

    Args:
        base: An object with ``log_prob(z)`` and ``sample(n, generator)``.
    """
    base = in_double(base)
    z = draws(base).requires_grad_()
    try:
        (score,) = torch.autograd.grad(base.log_prob(z).sum(), z)
    except RuntimeError:  # a log-density that autograd does not see
        return None
    if not score.isfinite().all() or not score.any():
        return None
    products = (z * score).sum(1).detach()
    return Moment(products.mean().item(), products.std().item() / len(z) ** 0.5)


@torch.no_grad()
def uncounted_dimensions(base: Any, dims: int) -> int:
    """Return how many dimensions of z change nothing of a base's log-density.

    Args:
        base: An object with ``log_prob(z)`` and ``sample(n, generator)``.
        dims: Number of dimensions of a latent.
    """
    base = in_double(base)
    z = draws(base, 1)
    steps = torch.eye(dims).to(z)
    is_same = [(base.log_prob(z + sign * steps) == base.log_prob(z)) for sign in (0.5, -0.3)]
    return int(torch.stack(is_same).all(0).sum())
