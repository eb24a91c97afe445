"""Dequantization noise as integers: random for training, and a function of the image's index for evaluation."""

import math

import torch
from torch import Tensor

NOISE_BITS = 15


def draw_noise(levels: Tensor) -> Tensor:
    """Draw dequantization noise for training from the global random state of the levels' device.

    Each random number of 64 bits is split into four of 16 bits, of which 15 are used.

    Returns:
        Integers in 0 .. 2^15 - 1, shape of the levels.
    """
    n = levels.numel()
    words = torch.empty(math.ceil(n / 4), dtype=torch.int64, device=levels.device).random_()
    return words.view(torch.int16)[:n].view(levels.shape).bitwise_and_(2**NOISE_BITS - 1)


def evaluation_noise(index: Tensor, event_shape: tuple[int, ...], draw: int, seed: int) -> Tensor:
    """Return dequantization noise that depends only on the image's index, the draw and the seed.

    Metrics therefore do not change with batch size, order, device or number of processes. The numbers are a counter,
    mixed by the finalizer of SplitMix64 (Steele et al. 2014, figure 15), whose 64-bit products wrap around.

    Args:
        index: Index of each image in its set, shape (batch,).
        event_shape: Shape of one image.
        draw: Index of the draw, from 0.
        seed: Seed of the evaluation.

    Returns:
        Integers in 0 .. 2^15 - 1, shape (batch, *event_shape).
    """
    dims = math.prod(event_shape)
    stream = _mix(_mix(torch.full((), seed, device=index.device)) + draw)
    counter = index[:, None].long() * dims + torch.arange(dims, device=index.device)
    bits = _mix(_mix(counter) + stream)
    return _shift_right(bits, 64 - NOISE_BITS).reshape(len(index), *event_shape)


def unit_interval(noise: Tensor) -> Tensor:
    """Return noise as real numbers strictly inside (0, 1), in the default dtype."""
    return (noise.to(torch.get_default_dtype()) + 0.5).div_(2**NOISE_BITS)


def _mix(value: Tensor) -> Tensor:
    value = value - 0x61C8864680B583EB  # adds 0x9E3779B97F4A7C15 (the golden gamma), as a signed number
    value = (value ^ _shift_right(value, 30)) * -0x40A7B892E31B1A47  # 0xBF58476D1CE4E5B9
    value = (value ^ _shift_right(value, 27)) * -0x6B2FB644ECCEEE15  # 0x94D049BB133111EB
    return value ^ _shift_right(value, 31)


def _shift_right(value: Tensor, bits: int) -> Tensor:
    """Shift int64 right without copying the sign bit."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)
