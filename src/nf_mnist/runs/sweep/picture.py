"""The settings of the runs of a sweep, and what they led to, in one picture."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure


def parallel_coordinates(settings: Mapping[str, Sequence[str]], figure: str, values: Sequence[float]) -> Figure:
    """A line for each run through its settings to its figure, the darker the better; lower figures are better.

    Args:
        settings: Of each run, by name; numbers are ordered as numbers, and everything else by name.
        figure: Name of the figure.
        values: The figure of each run.
    """
    picture, axes = plt.subplots(figsize=(2 + 1.8 * len(settings), 4.5), layout="constrained")
    plt.close(picture)
    columns = [_positions(given) for given in settings.values()]
    order = np.argsort(np.argsort(values)) / max(1, len(values) - 1)
    low, high = min(values), max(values)
    last = (np.asarray(values) - low) / ((high - low) or 1)
    for number in np.argsort(values)[::-1]:  # the best on top
        heights = [column[number] for column in columns] + [last[number]]
        axes.plot(range(len(heights)), heights, color=plt.cm.viridis(0.95 * order[number]), alpha=0.8)
    for place, (name, given) in enumerate(settings.items()):
        axes.axvline(place, color="black", linewidth=0.8)
        for text, height in dict(zip(given, columns[place], strict=True)).items():
            axes.annotate(_short(text), (place, height), xytext=(3, 0), textcoords="offset points", fontsize=7)
        axes.annotate(name, (place, 1.06), ha="center", fontsize=8, annotation_clip=False)
    place = len(settings)
    axes.axvline(place, color="black", linewidth=0.8)
    axes.annotate(figure, (place, 1.06), ha="center", fontsize=8, annotation_clip=False)
    for text, height in ((f"{low:.4f}", 0.0), (f"{high:.4f}", 1.0)):
        axes.annotate(text, (place, height), xytext=(3, 0), textcoords="offset points", fontsize=7)
    axes.set(xlim=(-0.3, place + 0.6), ylim=(-0.05, 1.2))
    axes.axis("off")
    return picture


def _numbers(given: Sequence[str]) -> "np.ndarray | None":
    try:
        return np.array([float(text) for text in given])
    except ValueError:
        return None


def _positions(given: Sequence[str]) -> "np.ndarray":
    """Return heights in [0, 1]: the rank of each setting among those that occur."""
    values = _numbers(given)
    found, ranks = np.unique(given if values is None else values, return_inverse=True)
    return ranks / max(1, len(found) - 1)


def _short(text: str) -> str:
    numbers = _numbers([text])
    return text if numbers is None else f"{numbers[0]:.3g}"
