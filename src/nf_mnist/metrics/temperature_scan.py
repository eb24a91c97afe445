"""Quality of samples at several temperatures. 1.0 draws from the flow's own density; others may look better."""

import contextlib
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nf_mnist.errors import ConfigError
from nf_mnist.flows import Flow
from nf_mnist.metrics.draws import PLAIN, Sampling, draw_levels
from nf_mnist.metrics.sample_quality import Quality, ReferenceImages

N_SHOWN = 10  # samples of each temperature in the figure


class TemperatureScan(NamedTuple):
    """Quality of samples at each temperature.

    Attributes:
        temperatures: 1.0, then other temperatures.
        quality: Quality of the samples at each temperature.
        n_nan: Number of samples with NaN pixels at each temperature.
        seconds: Time that the samples of each temperature took.
        floor: Quality of the same number of training images.
        shown: First samples of each temperature, from the same latents, shape (n_temperatures, n_shown, 1, 28, 28).
    """

    temperatures: Sequence[float]
    quality: list[Quality]
    n_nan: list[int]
    seconds: list[float]
    floor: Quality
    shown: Tensor

    @property
    def best(self) -> int:
        """Index of the temperature with the smallest Frechet distance."""
        return min(range(len(self.quality)), key=lambda index: self.quality[index].frechet_distance)


def check_temperatures(temperatures: Sequence[float]) -> None:
    """Check the temperatures of a scan.

    Raises:
        ConfigError: If they are not a list, the first is not 1.0, or one is not a finite number above 0.
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
    sampling: Sampling = PLAIN,
    autocast: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext,
    progress: Any = iter,
) -> TemperatureScan:
    """Draw n samples at each temperature and measure them.

    Args:
        flow: Flow in evaluation mode.
        reference: Real images to measure samples against.
        temperatures: 1.0, then other temperatures above 0.
        n: Number of samples of each temperature, and of training images for the floor.
        batch_size: Number of samples in a forward pass.
        seed: Seed for the latents and for the choice of training images.
        sampling: Guidance and denoising of all samples.
        autocast: Returns the context in which samples are drawn; they are measured in float32.
        progress: Function that wraps the temperatures to show a progress bar.

    Raises:
        ConfigError: If the temperatures are invalid; see :func:`check_temperatures`.
    """
    check_temperatures(temperatures)
    quality, n_nan, seconds, shown = [], [], [], []
    for temperature in progress(temperatures):
        begin = time.monotonic()
        with autocast():
            drawn = draw_levels(flow, n, temperature, batch_size=batch_size, seed=seed, sampling=sampling)
        seconds.append(time.monotonic() - begin)
        n_nan.append(drawn.n_nan)
        quality.append(reference.measure(drawn.levels))
        shown.append(drawn.levels[:N_SHOWN])
    return TemperatureScan(temperatures, quality, n_nan, seconds, reference.floor(n, seed), torch.stack(shown))
