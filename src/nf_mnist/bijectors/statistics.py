"""Mean and variance of a batch over all processes, per channel of an image or per dimension of a vector."""

import torch.distributed as dist
from torch import Tensor

from nf_mnist.bijectors.base import Shape
from nf_mnist.errors import ConfigError


def statistics_shape(event_shape: Shape) -> Shape:
    """Return the shape of a statistic: (channels, 1, 1) for an image event, (dims,) for a flat one."""
    return (event_shape[0], *[1] * (len(event_shape) - 1))


def batch_moments(x: Tensor, min_count: int = 2) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance of a batch.

    Args:
        x: Shape (batch, channels, height, width) for one pair per channel, or (batch, dims) for one per dimension.
        min_count: Smallest number of values per statistic; the variance of a single value is always 0.

    Returns:
        Mean and variance, shape (channels, 1, 1) or (dims,). They are differentiable. When ``torch.distributed`` runs
        they are the statistics of the batches of all processes together, the same on every process.

    Raises:
        ConfigError: If this process has fewer than ``min_count`` values per statistic.
    """
    axes = (0, *range(2, x.dim()))
    shape = statistics_shape(x.shape[1:])
    count = x.numel() // x.shape[1]
    if count < min_count:
        raise ConfigError(
            f"a normalisation needs {min_count} numbers for each statistic, a batch of {len(x)} has {count}; raise "
            "data.batch_size"
        )
    total_count = _sum_over_processes(x.new_full((), float(count)))  # filled on the device: no upload, no wait
    mean = _sum_over_processes(x.sum(axes).reshape(shape)) / total_count
    # The variance takes a second pass over centred values, because E[x^2] - E[x]^2 loses digits in float32.
    variance = _sum_over_processes((x - mean).square().sum(axes).reshape(shape)) / total_count
    return mean, variance


def _sum_over_processes(value: Tensor) -> Tensor:
    if not (dist.is_available() and dist.is_initialized()):
        return value
    from torch.distributed.nn.functional import all_reduce  # absent where torch is built without processes

    return all_reduce(value)
