"""Quality over temperatures: 1.0 is the flow's own density, others may look better."""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nf_mnist.errors import ConfigError
from nf_mnist.flows import Flow
from nf_mnist.metrics.draws import draw_levels
from nf_mnist.metrics.sample_quality import Quality, ReferenceImages

SHOWN = 10  # samples of each temperature in a picture


class TemperatureScan(NamedTuple):
    """What samples of each temperature measure.

    Attributes:
        temperatures: 1.0, then others.
        found: Quality at each.
        n_nan: How many samples of each have pixels that are no number.
        seconds: That the samples of each took.
        floor: Quality of as many training images.
        shown: The first samples of each, from the same latents, shape (n_temperatures, n_shown, 1, 28, 28).
    """

    temperatures: Sequence[float]
    found: list[Quality]
    n_nan: list[int]
    seconds: list[float]
    floor: Quality
    shown: Tensor

    @property
    def best(self) -> int:
        """The number of the temperature whose Frechet distance is the smallest."""
        return min(range(len(self.found)), key=lambda number: self.found[number].frechet_distance)


def check_temperatures(temperatures: Sequence[float]) -> None:
    """Check the temperatures of a sweep.

    Raises:
        ConfigError: If they are no list, the first is not 1.0, or one is no number above 0.
    """
    given = list(temperatures) if isinstance(temperatures, Sequence) else []
    numbers = [value for value in given if isinstance(value, int | float) and 0 < value < float("inf")]
    if given[:1] != [1.0] or len(numbers) < len(given):
        raise ConfigError(
            f"temperatures must be 1.0, the flow's own, then others above 0, as in [1.0,0.8]; got {temperatures}"
        )


def scan_temperatures(
    flow: Flow,
    reference: ReferenceImages,
    temperatures: Sequence[float],
    n: int,
    *,
    batch_size: int,
    seed: int,
    progress: Any = iter,
) -> TemperatureScan:
    """Draw n samples at each temperature and measure them.

    Args:
        flow: In evaluation mode.
        reference: Real images.
        temperatures: As :func:`check_temperatures` wants them.
        n: Samples of each temperature, and training images of the floor.
        batch_size: Samples in a pass.
        seed: Of latents and of the choice of training images.
        progress: Wraps the temperatures, to show a bar.
    """
    check_temperatures(temperatures)
    found, n_nan, seconds, shown = [], [], [], []
    for temperature in progress(temperatures):
        begin = time.monotonic()
        drawn = draw_levels(flow, n, temperature, batch_size=batch_size, seed=seed)
        seconds.append(time.monotonic() - begin)
        n_nan.append(drawn.n_nan)
        found.append(reference.measure(drawn.levels))
        shown.append(drawn.levels[:SHOWN])
    return TemperatureScan(temperatures, found, n_nan, seconds, reference.floor(n, seed), torch.stack(shown))
