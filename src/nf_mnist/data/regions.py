"""Regions of an image, such as its halves, by name; and random ones, as ``conditional`` is trained on."""

from collections.abc import Callable

import torch
from torch import Tensor

HALVES = ("upper", "lower", "left", "right")

# Each takes rows and columns, (height, width) each, and the two sides.
_REGIONS: dict[str, Callable[[Tensor, Tensor, int, int], Tensor]] = {
    "upper": lambda rows, columns, height, width: rows < height // 2,
    "lower": lambda rows, columns, height, width: rows >= height // 2,
    "left": lambda rows, columns, height, width: columns < width // 2,
    "right": lambda rows, columns, height, width: columns >= width // 2,
    "centre": lambda rows, columns, height, width: _is_inner(rows, height) & _is_inner(columns, width),
    "rows": lambda rows, columns, height, width: rows % 2 == 1,
}


def region(name: str, height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """Return which pixels lie in a region, shape (height, width) and dtype bool.

    Args:
        name: One of :data:`HALVES`; ``centre``, the middle half of rows and columns; or ``rows``, every second row.
        height: Number of rows.
        width: Number of columns.
        device: Where to put the result.
    """
    rows = torch.arange(height, device=device)[:, None].expand(height, width)
    columns = torch.arange(width, device=device)[None].expand(height, width)
    return _REGIONS[name](rows, columns, height, width)


def random_observed(levels: Tensor) -> Tensor:
    """Draw which pixels of each image are observed, from the global random state of the levels' device.

    A quarter of the images each: one half, which is what is asked for most; the inside or outside of a random
    rectangle, whose edges often are those of the image or its middle; pixels at random, at a random rate; and every
    second row, or nothing.

    Args:
        levels: Images, shape (batch, 1, height, width).

    Returns:
        True where a pixel is observed, shape of the levels.
    """
    batch, _, height, width = levels.shape
    device = levels.device

    def uniform(*shape: int) -> Tensor:
        return torch.rand(batch, *shape, device=device)

    rows = _random_interval(uniform(3), height)
    columns = _random_interval(uniform(3), width)
    rectangle = rows[:, :, None] & columns[:, None, :]
    rectangle ^= uniform(1, 1) < 0.5
    scattered = uniform(height, width) < uniform(1, 1)
    stripes = (torch.arange(height, device=device) % 2 == (uniform(1) < 0.5).long())[:, :, None]
    stripes = stripes.expand(-1, -1, width) & (uniform(1, 1) < 0.5)
    kind = (4 * uniform(1, 1)).floor()
    observed = torch.where(kind == 0, rectangle, torch.where(kind == 1, scattered, stripes))
    hidden_half = torch.stack([region(name, height, width, device) for name in HALVES])
    halves = ~hidden_half[(len(HALVES) * uniform()).long()]
    return torch.where(kind == 3, halves, observed)[:, None]


def _is_inner(positions: Tensor, length: int) -> Tensor:
    return (positions >= length // 4) & (positions < length - length // 4)


def _random_interval(draws: Tensor, length: int) -> Tensor:
    """Turn draws, shape (batch, 3), into random intervals of 0 .. length - 1 as masks, shape (batch, length)."""
    ends = (draws[:, :2] * 1.5 - 0.25).clamp(0, 1).sort(1).values  # clamping puts many ends at the image's edge
    # A third of the intervals are a half of the image or all of it, so that rectangles are often halves or quarters.
    first, last, middle = ends[:, :1], ends[:, 1:], draws[:, 2:]
    is_low, is_high, is_whole = middle < 1 / 6, middle > 5 / 6, (middle > 0.4) & (middle < 0.6)
    first = torch.where(is_low | is_whole, 0.0, torch.where(is_high, 0.5, first))
    last = torch.where(is_low, 0.5, torch.where(is_high | is_whole, 1.0, last))
    centres = (torch.arange(length, device=draws.device) + 0.5) / length
    return (centres >= first) & (centres < last)
