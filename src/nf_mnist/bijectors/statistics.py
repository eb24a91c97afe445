"""Mean and variance of a batch, per channel of an image or per dimension of a vector, over all processes."""

import torch.distributed as dist
from torch import Tensor

from nf_mnist.bijectors.base import Shape
from nf_mnist.errors import ConfigError


def statistics_shape(event_shape: Shape) -> Shape:
    """Return the shape of one statistic: (channels, 1, 1) of an image event, (dims,) of a flat one."""
    return (event_shape[0], *[1] * (len(event_shape) - 1))


def batch_moments(x: Tensor, n_least: int = 2) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance of a batch.

    Args:
        x: Shape (batch, channels, height, width): one pair per channel; or (batch, dims): one pair per dimension.
        n_least: The fewest numbers that one statistic may be of; the variance of one is 0, whatever it is.

    Returns:
        Mean and variance, shape (channels, 1, 1) or (dims,). Differentiable, and the same on every process when
        ``torch.distributed`` runs: those of the union of all processes' batches.

    Raises:
        ConfigError: If a statistic is of fewer than ``n_least`` numbers of this process.
    """
    axes = (0, *range(2, x.dim()))
    shape = statistics_shape(x.shape[1:])
    n_numbers = x.numel() // x.shape[1]
    if n_numbers < n_least:
        raise ConfigError(
            f"a normalisation needs {n_least} numbers for each statistic, a batch of {len(x)} has {n_numbers}; raise "
            "data.batch_size"
        )
    count = _sum_over_processes(x.new_tensor(float(n_numbers)))
    mean = _sum_over_processes(x.sum(axes).reshape(shape)) / count
    # Of centred values in a second pass: E[x^2] - E[x]^2 cancels in float32.
    variance = _sum_over_processes((x - mean).square().sum(axes).reshape(shape)) / count
    return mean, variance


def _sum_over_processes(value: Tensor) -> Tensor:
    if not (dist.is_available() and dist.is_initialized()):
        return value
    from torch.distributed.nn.functional import all_reduce  # absent where torch is built without processes

    return all_reduce(value)
