"""Which standard distribution latents have, if it is not the standard normal."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

MIN_GAIN = 0.005  # nats per dimension; a logistic distribution gains 0.014 on the normal of its deviation
SCALE_ERROR = 0.1  # relative error of the standard deviation


class Base(NamedTuple):
    """A distribution of one dimension with mean 0.

    Attributes:
        std: Its standard deviation.
        log_density: Returns the log-density of each value in nats.
    """

    std: float
    log_density: Callable[[Tensor], Tensor]


BASES = {
    "logistic": Base(math.pi / math.sqrt(3), lambda z: -z.abs() - 2 * F.softplus(-z.abs())),
    "Laplace": Base(math.sqrt(2), lambda z: -z.abs() - math.log(2)),
}


def other_base(z: Tensor) -> str:
    """Return the name of the standard distribution that latents have rather than a normal of any scale, or "".

    Args:
        z: Latents, shape (n, dims).
    """
    scale = z.double().square().mean().sqrt().item()
    if not 0 < scale < math.inf:
        return ""
    as_normal = -0.5 * (1 + math.log(2 * math.pi)) - math.log(scale)
    gains = {
        name: base.log_density(z.double()).mean().item() - as_normal
        for name, base in BASES.items()
        if abs(scale / base.std - 1) < SCALE_ERROR
    }
    best = max(gains, key=lambda name: gains[name], default="")
    return best if best and gains[best] > MIN_GAIN else ""
