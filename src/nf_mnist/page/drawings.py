"""What the canvas of the page sends and shows: the levels of an image, and which pixels are hidden."""

import base64
import json
from typing import NamedTuple

import torch
from torch import Tensor

from nf_mnist.data import decode_png
from nf_mnist.errors import DataError, ShapeError

MAX_TEXT = 2**21  # characters of what a browser sends: a picture of 1 MiB in base64


class Drawing(NamedTuple):
    """A drawing.

    Attributes:
        levels: Grey levels, shape (1, height, width) and dtype uint8.
        hidden: Which pixels are hidden, the same shape and dtype bool.
    """

    levels: Tensor
    hidden: Tensor


def whole(levels: Tensor) -> Drawing:
    """Return an image of which nothing is hidden."""
    return Drawing(levels, torch.zeros_like(levels, dtype=torch.bool))


def write_drawing(drawing: Drawing) -> str:
    """Return a drawing as the canvas takes it: JSON with the bytes of levels and of hidden pixels in base64."""
    return json.dumps({"levels": encoded(drawing.levels), "hidden": encoded(drawing.hidden.to(torch.uint8))})


def read_drawing(text: str | None, shape: tuple[int, ...]) -> Drawing:
    """Return the drawing that the canvas sends.

    Args:
        text: What :func:`write_drawing` returns, or None.
        shape: Shape of the flow's images, (1, height, width).

    Raises:
        DataError: If it is no drawing of that shape, or nothing is drawn.
    """
    try:
        sent = json.loads(text or "")
        levels, hidden = decoded(sent["levels"], shape), decoded(sent["hidden"], shape)
    except (ValueError, TypeError, KeyError, RecursionError):  # a browser may send anything
        raise DataError(f"the canvas sent no drawing of {shape[1]}x{shape[2]} pixels; reload the page") from None
    if not levels.any():
        raise DataError("the canvas is empty; draw a digit, take a test image, or open a picture")
    return Drawing(levels, hidden > 0)


def read_upload(content: object, shape: tuple[int, ...]) -> Tensor:
    """Return the levels of a PNG file in base64, shape (1, height, width).

    Raises:
        DataError: If it is no such file, or too large.
        ShapeError: If it has another size than the flow's images.
    """
    if not isinstance(content, str) or len(content) > MAX_TEXT:
        raise DataError("the picture is too large; at most 1 MiB is read")
    try:
        levels = decode_png(base64.b64decode(content, validate=True))
    except ValueError:
        raise DataError("the browser sent no file; reload the page") from None
    if levels.shape != shape:
        height, width = levels.shape[1:]
        raise ShapeError(
            f"the picture is {width}x{height} pixels, this flow takes {shape[2]}x{shape[1]}; scale it first"
        )
    return levels


def encoded(values: Tensor) -> str:
    """Return the bytes of a tensor of dtype uint8 in base64."""
    return base64.b64encode(values.contiguous().cpu().numpy().tobytes()).decode()


def decoded(text: object, shape: tuple[int, ...]) -> Tensor:
    """Invert :func:`encoded`.

    Raises:
        ValueError: If the text is no base64, or holds another number of bytes.
        TypeError: If it is no text.
    """
    if not isinstance(text, str):
        raise TypeError
    content = base64.b64decode(text[:MAX_TEXT], validate=True)
    if len(content) != torch.Size(shape).numel():
        raise ValueError
    return torch.frombuffer(bytearray(content), dtype=torch.uint8).reshape(shape)
