"""A picture of the settings of a sweep's runs and of the metric that each run reached."""

from collections.abc import Iterable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

SMALL, LARGE = 7, 8  # sizes of the text at ticks and above axes, in points


def parallel_coordinates(settings: Mapping[str, Sequence[str]], metric: str, values: Sequence[float]) -> Figure:
    """Draw a line for each run through its settings to its metric; darker lines are better runs.

    Args:
        settings: For each setting, its value in each run. Numbers are ordered by size, other values by name.
        metric: The name of the metric; lower values are better.
        values: The metric of each run.
    """
    figure, axes = plt.subplots(figsize=(2 + 1.8 * len(settings), 4.5), layout="constrained")
    plt.close(figure)
    columns = [_heights(column) for column in settings.values()]
    low, high = min(values), max(values)
    columns.append((np.asarray(values) - low) / ((high - low) or 1))
    _draw_lines(axes, np.stack(columns, axis=1), values)
    for position, (name, column) in enumerate(settings.items()):
        ticks = {(_short(text), height) for text, height in zip(column, columns[position], strict=True)}
        _draw_axis(axes, position, name, ticks)
    _draw_axis(axes, len(settings), metric, [(f"{low:.4f}", 0.0), (f"{high:.4f}", 1.0)])
    axes.set(xlim=(-0.3, len(settings) + 0.6), ylim=(-0.05, 1.2))
    axes.axis("off")
    return figure


def _draw_lines(axes: Axes, heights: np.ndarray, values: Sequence[float]) -> None:
    """Draw each row of heights, shape (runs, axes), as a line; the best run on top."""
    rank = np.argsort(np.argsort(values)) / max(1, len(values) - 1)
    for run in np.argsort(values)[::-1]:
        axes.plot(range(heights.shape[1]), heights[run], color=plt.cm.viridis(0.95 * rank[run]), alpha=0.8)


def _draw_axis(axes: Axes, position: int, name: str, ticks: Iterable[tuple[str, float]]) -> None:
    """Draw a vertical axis with its name above it and a text at the height of each tick."""
    axes.axvline(position, color="black", linewidth=0.8)
    for text, height in ticks:
        axes.annotate(text, (position, height), xytext=(3, 0), textcoords="offset points", fontsize=SMALL)
    axes.annotate(name, (position, 1.06), ha="center", fontsize=LARGE, annotation_clip=False)


def _numbers(texts: Sequence[str]) -> np.ndarray | None:
    """Return texts as numbers, or None if one of them is not a number."""
    try:
        return np.array([float(text) for text in texts])
    except ValueError:
        return None


def _heights(column: Sequence[str]) -> np.ndarray:
    """Return a height in [0, 1] for each value: its rank among the different values."""
    numbers = _numbers(column)
    different, ranks = np.unique(column if numbers is None else numbers, return_inverse=True)
    return ranks / max(1, len(different) - 1)


def _short(text: str) -> str:
    numbers = _numbers([text])
    return text if numbers is None else f"{numbers[0]:.3g}"
