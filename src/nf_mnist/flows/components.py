"""Components that image flows share: preprocessing, normalisation, alternating masks and factoring out."""

from collections.abc import Callable

from torch import Tensor

from nf_mnist.bijectors import (
    ActNorm,
    BatchNorm,
    Bijector,
    FactorOut,
    Logit,
    MarginalGaussianization,
    Rescale,
    Sequential,
    Shape,
)
from nf_mnist.errors import ConfigError

MAX_SCALES = 16  # more are a mistake, whose powers of two would fill the memory
Preprocess = Callable[[Shape], Bijector]
Norm = Callable[[Shape], list[Bijector]]


def preprocessing(kind: str, logit_alpha: float, count_log_det: bool) -> Preprocess:
    """Return a factory of the map from the unit interval to the space of the couplings.

    Args:
        kind: ``logit``, ``gaussianize`` (a map of each pixel, fitted on the training images), ``symmetric`` (a
            linear map to [-1, 1]) or ``none``.
        logit_alpha: Margin of the logit.
        count_log_det: Whether the logit's log-determinant is counted; see :class:`~nf_mnist.bijectors.Logit`.

    Returns:
        A function from the event shape to a bijector.

    Raises:
        ConfigError: If the kind is unknown, or the margin is out of range.
    """
    if kind == "none":
        return lambda event_shape: Sequential([])
    if kind == "symmetric":
        return lambda event_shape: Rescale(2.0, -1.0)
    if kind == "logit":
        logit = Logit(logit_alpha, count_log_det)
        return lambda event_shape: logit
    if kind == "gaussianize":
        return MarginalGaussianization
    raise ConfigError(f"unknown preprocess {kind!r}; choose one of logit, gaussianize, symmetric, none")


def normalization(kind: str, momentum: float, policy: str, eps: float) -> Norm:
    """Return a factory of normalisation layers.

    Args:
        kind: ``none``, ``batchnorm`` or ``actnorm``.
        momentum: Momentum of BatchNorm's running statistics; see :class:`~nf_mnist.bijectors.BatchNorm`.
        policy: Policy of BatchNorm in training.
        eps: Number added to the variance, for BatchNorm and ActNorm.

    Returns:
        A function from the event shape to a list of bijectors, which is empty for ``none``.

    Raises:
        ConfigError: If the kind is unknown.
    """
    if kind == "none":
        return lambda event_shape: []
    if kind == "batchnorm":
        return lambda event_shape: [BatchNorm(event_shape, momentum, policy, eps)]
    if kind == "actnorm":
        return lambda event_shape: [ActNorm(event_shape, eps)]
    raise ConfigError(f"unknown norm {kind!r}; choose one of none, batchnorm, actnorm")


def alternating_masks(mask: Tensor, n: int) -> list[Tensor]:
    """Return n masks, alternating between the given one and its complement."""
    return [1 - mask if i % 2 else mask for i in range(n)]


def factor_out_half(shape: Shape, rest: Callable[[Shape], list[Bijector]]) -> FactorOut:
    """Send the second half of the channels to the latent and the first half through further layers.

    Args:
        shape: (channels, height, width) of the input.
        rest: Function from the shape of the first half to its layers, which end in a flat latent.
    """
    channels, *sides = shape
    n_kept = channels // 2
    return FactorOut(shape, n_kept, Sequential(rest((n_kept, *sides))))
