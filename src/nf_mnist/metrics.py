"""The figures by which flows are judged."""

import math

import torch
from torch import Tensor, nn


def bits_per_dim(log_prob: Tensor, log_q: Tensor | float, dims: int) -> Tensor:
    """Bits per dimension of a discrete image, from the density of its dequantized version.

    ``log P(v) >= E[log p(x) - log q(x | v)]`` for x drawn from a dequantizer ``q`` (Theis et al. 2016, section 3.1;
    Ho et al. 2019, equation 12), an equality on average if the model is. Uniform dequantization in (0, 1) has
    ``log q = dims * ln 256``, which also counts the scaling of levels; the uniform model ``log p = 0`` scores 8.

    Args:
        log_prob: log p(x) in nats with every log-determinant counted, shape (batch,).
        log_q: log q(x | v) in nats, a number or shape (batch,).
        dims: Number of dimensions, 784 for MNIST.

    Returns:
        Bits per dimension, shape (batch,).
    """
    return -(log_prob - log_q) / (dims * math.log(2))


def log_mean_exp(values: Tensor) -> Tensor:
    """Return ``log(mean(exp(values)))`` over the first axis, without overflow.

    Of several draws of ``log p(x) - log q(x | v)`` it is an estimate of log P(v) whose bias shrinks as draws are added
    (Burda et al. 2016, equation 8).
    """
    return torch.logsumexp(values, dim=0) - math.log(len(values))


def auroc(positive: Tensor, negative: Tensor) -> float:
    """Area under the ROC curve: how often a positive score exceeds a negative one, ties counted as half.

    That is the statistic of Mann and Whitney (1947), divided by the number of pairs. For normals of variance 1 that are
    ``d`` apart it is ``Phi(d / sqrt 2)``. What is no number counts as the largest score.

    Args:
        positive: Scores of what is to be found, shape (n,).
        negative: Scores of everything else, shape (m,).
    """
    positive, negative = (
        scores.double().nan_to_num(torch.inf, torch.inf, -torch.inf) for scores in (positive, negative)
    )
    ordered = negative.sort().values
    below, up_to = (torch.searchsorted(ordered, positive, right=right) for right in (False, True))
    return ((below + up_to).double().mean() / (2 * len(ordered))).item()


def count_parameters(*modules: nn.Module) -> int:
    """Return how many numbers modules learn."""
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def chi_moments(dims: int) -> tuple[float, float]:
    """Mean and standard deviation of the norm of ``dims`` independent standard normals: 27.99 and 0.707 for 784."""
    mean = math.sqrt(2) * math.exp(math.lgamma((dims + 1) / 2) - math.lgamma(dims / 2))
    return mean, math.sqrt(dims - mean**2)


def chi_density(radius: Tensor, dims: int) -> Tensor:
    """Density of the norm of ``dims`` independent standard normals at each (positive) radius."""
    log_density = (dims - 1) * radius.log() - radius**2 / 2 - (dims / 2 - 1) * math.log(2) - math.lgamma(dims / 2)
    return log_density.exp()
