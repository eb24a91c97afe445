"""Bits per dimension, and the units of a log-likelihood."""

import math
from typing import overload

import torch
from torch import Tensor, nn

from nf_mnist.bijectors import Bijector
from nf_mnist.data import Dequantizer


@overload
def bits_per_dim(log_prob: Tensor, log_q: Tensor | float, dims: int) -> Tensor: ...


@overload
def bits_per_dim(log_prob: float, log_q: float, dims: int) -> float: ...


def bits_per_dim(log_prob: Tensor | float, log_q: Tensor | float, dims: int) -> Tensor | float:
    """Return bits per dimension of a discrete image, from the density of its dequantized version.

    ``log P(v) >= E[log p(x) - log q(x | v)]`` for x drawn from a dequantizer ``q`` (Theis et al. 2016, section 3.1;
    Ho et al. 2019, equation 12). Uniform dequantization in (0, 1) has ``log q = dims * ln 256``, which also counts the
    scaling of levels. The uniform model, ``log p = 0``, scores 8.

    Args:
        log_prob: log p(x) in nats with every log-determinant counted, shape (batch,) or a number.
        log_q: log q(x | v) in nats, a number or shape (batch,).
        dims: Number of dimensions, 784 for MNIST.

    Returns:
        Bits per dimension, shape (batch,) or a number.
    """
    return -(log_prob - log_q) / (dims * math.log(2))


def log_mean_exp(values: Tensor) -> Tensor:
    """Return ``log(mean(exp(values)))`` over the first axis, without overflow.

    Over several draws of ``log p(x) - log q(x | v)`` it estimates log P(v), with a bias that shrinks as draws are added
    (Burda et al. 2016, equation 8).
    """
    return torch.logsumexp(values, dim=0) - math.log(len(values))


def silent_layers(flow: nn.Module) -> list[str]:
    """Return the names of the single layers whose log-determinant the flow does not count."""
    layers = [(name, part) for name, part in flow.named_modules() if isinstance(part, Bijector) and not part.parts()]
    return [name for name, layer in layers if not layer.counts_log_det]


def has_bits(flow: nn.Module, dequantizer: Dequantizer) -> bool:
    """Return whether bits per dimension are defined: levels are dequantized, and every log-determinant is counted."""
    return dequantizer.is_discrete and not silent_layers(flow)


def likelihood_unit(flow: nn.Module, dequantizer: Dequantizer) -> str:
    """Return the unit of log p(x) - log q(x | levels) in words: what it is the logarithm of."""
    return dequantizer.logit_unit if silent_layers(flow) else dequantizer.unit


def count_parameters(*modules: nn.Module) -> int:
    """Return the number of parameters of modules."""
    return sum(parameter.numel() for module in modules for parameter in module.parameters())
