"""Whether latents have the logistic distribution, the usual base beside the normal one (Dinh et al. 2015, "NICE")."""

import math

import torch.nn.functional as F
from torch import Tensor

LOGISTIC_STD = math.pi / math.sqrt(3)
MIN_GAIN = 0.005  # nats per dimension; a logistic distribution gains 0.014 on the normal of its deviation
SCALE_ERROR = 0.1  # relative error of the standard deviation


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
