"""Pieces of HTML with pictures and charts inside, so that nothing is written to the disk of the server."""

import io
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nf_mnist.data import to_levels
from nf_mnist.page.drawings import Drawing, encoded
from nf_mnist.pages import render

HIDDEN_COLOR = (86, 130, 210)
CHART = (320.0, 120.0)  # width and height of a chart in its own units


class Mark(NamedTuple):
    """A vertical line in a chart: where it is, and what it says."""

    x: float
    text: str


def png(pixels: Tensor) -> bytes:
    """Return a grey image, shape (1, height, width), or a colour image, (height, width, 3), of dtype uint8 as PNG."""
    buffer = io.BytesIO()
    array = pixels[0] if pixels.shape[0] == 1 else pixels
    Image.fromarray(np.ascontiguousarray(array.cpu().numpy())).save(buffer, "PNG")
    return buffer.getvalue()


def grey(x: Tensor) -> bytes:
    """Return an image in [0, 1], shape (1, height, width), as PNG."""
    return png(to_levels(x.detach().nan_to_num()))


def with_hidden(drawing: Drawing) -> bytes:
    """Return a drawing as PNG, with hidden pixels in blue."""
    color = torch.tensor(HIDDEN_COLOR, dtype=torch.uint8)
    return png(torch.where(drawing.hidden[0, :, :, None], color, drawing.levels[0, :, :, None]))


def heat_map(values: Tensor, largest: float) -> bytes:
    """Return values from 0 to ``largest``, shape (height, width), as a picture from black to yellow."""
    from matplotlib import colormaps  # 0.5 s

    colors = colormaps["inferno"](np.clip(values.numpy() / largest, 0, 1), bytes=True)
    return png(torch.from_numpy(colors[..., :3].copy()))


def figures(title: str, pictures: Mapping[str, bytes], sentences: Sequence[str] = ()) -> str:
    """Return pictures, each with its title below, and sentences under them. Everything is escaped."""
    return render("figures", title, pictures, sentences=sentences)


def choices(title: str, levels: Tensor) -> str:
    """Return images, shape (n, 1, height, width) and dtype uint8, as buttons that carry their levels."""
    pictures = {f"sample {number}": png(image) for number, image in enumerate(levels, 1)}
    return render("choices", title, pictures, levels=[encoded(image) for image in levels])


def chart(title: str, x: Tensor, y: Tensor, marks: Sequence[Mark], x_label: str) -> str:
    """Return a curve as SVG, with vertical lines at some places; lines beyond the curve are at its end.

    Args:
        title: What the curve is.
        x: Horizontal positions, shape (n,), in ascending order.
        y: Heights, shape (n,), at least 0.
        marks: The lines.
        x_label: What the horizontal positions are.
    """
    width, height = CHART
    low, high, top = x[0].item(), x[-1].item(), max(y.max().item(), 1e-30)

    def place(value: float) -> float:
        return round(width * min(max((value - low) / (high - low), 0.0), 1.0), 1)

    points = [(place(a), round(height * (1 - b / top), 1)) for a, b in zip(x.tolist(), y.tolist(), strict=True)]
    lines = [{"x": place(mark.x), "text": mark.text} for mark in marks]
    ends = (f"{low:.4g}", f"{high:.4g}")
    return render(
        "chart", title, {}, points=points, lines=lines, ends=ends, x_label=x_label, width=width, height=height
    )
