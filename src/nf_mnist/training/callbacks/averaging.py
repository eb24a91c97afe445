"""A moving average of the weights, which validation, checkpoints and metrics use."""

import functools

from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from nf_mnist.errors import check_range


class AverageWeights(WeightAveraging):
    """Keep an exponential moving average of weights and statistics (Polyak and Juditsky 1992), updated at each step.

    Lightning's own class also averages integers, such as the order of a permutation, and rounds the average down. Here
    integers take their present values.

    Args:
        decay: Share of the old average that each step keeps.

    Raises:
        ConfigError: If ``decay`` is outside [0, 1].
    """

    def __init__(self, decay: float = 0.999) -> None:
        check_range(0, 1, decay=decay)
        super().__init__(avg_fn=functools.partial(_moving_average, decay=decay))


def _moving_average(average: Tensor, current: Tensor, n_averaged: Tensor, *, decay: float) -> Tensor:
    return average.lerp(current, 1 - decay) if average.is_floating_point() else current
