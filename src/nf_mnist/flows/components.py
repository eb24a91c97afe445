"""Parts that image flows have in common: what comes before the couplings, what normalises, masks in turn, the split."""

from collections.abc import Callable

from torch import Tensor

from nf_mnist.bijectors import (
    ActNorm,
    BatchNorm,
    Bijector,
    FactorOut,
    Logit,
    MarginalGaussianization,
    Sequential,
    Shape,
)
from nf_mnist.errors import ConfigError

Preprocess = Callable[[Shape], Bijector]
Norm = Callable[[Shape], list[Bijector]]


def preprocessing(kind: str, logit_alpha: float, count_log_det: bool) -> Preprocess:
    """Build what makes the map from the unit interval to the space of the couplings: event shape in, bijector out.

    Args:
        kind: ``logit``, ``gaussianize`` (each pixel alone, fitted on the training images), or ``none``.
        logit_alpha: Margin of the logit.
        count_log_det: Whether the logit's log-determinant counts; see :class:`~nf_mnist.bijectors.Logit`.

    Raises:
        ConfigError: If the kind is unknown, or the margin is out of range.
    """
    if kind == "none":
        return lambda event_shape: Sequential([])
    if kind == "logit":
        logit = Logit(logit_alpha, count_log_det)
        return lambda event_shape: logit
    if kind == "gaussianize":
        return MarginalGaussianization
    raise ConfigError(f"unknown preprocess {kind!r}; choose one of logit, gaussianize, none")


def normalization(kind: str, momentum: float, policy: str, eps: float) -> Norm:
    """Build what makes the normalisation after each coupling: event shape in, list of bijectors out.

    Args:
        kind: ``none``, ``batchnorm`` or ``actnorm``.
        momentum: Of BatchNorm's running statistics.
        policy: Of BatchNorm.
        eps: Floor under the variance, of both.

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
    """Return n masks: the given one and its complement in turn."""
    return [1 - mask if i % 2 else mask for i in range(n)]


def factor_out_half(shape: Shape, rest: Callable[[Shape], list[Bijector]]) -> FactorOut:
    """Send the second half of the channels to the latent, the first one through what ``rest`` makes of its shape."""
    channels, *sides = shape
    n_kept = channels // 2
    return FactorOut(shape, n_kept, Sequential(rest((n_kept, *sides))))
