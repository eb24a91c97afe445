"""What browsers send: drawings and pictures are read, and everything else is refused in a sentence."""

import base64
import io
import json
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from nf_mnist.data import decode_png
from nf_mnist.errors import DataError, ShapeError
from nf_mnist.page.drawings import Drawing, read_drawing, read_upload, write_drawing

SHAPE = (1, 3, 4)
LEVELS = torch.arange(12, dtype=torch.uint8).reshape(SHAPE) * 20
HIDDEN = LEVELS > 100


def png(array: np.ndarray, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind)
    return buffer.getvalue()


def base64_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


def bomb(width: int, height: int) -> bytes:
    """Return a small PNG file whose header promises many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(10**6)))
        + chunk(b"IEND", b"")
    )


def test_a_drawing_comes_back_as_it_was_written():
    found = read_drawing(write_drawing(Drawing(LEVELS, HIDDEN)), SHAPE)
    assert torch.equal(found.levels, LEVELS)
    assert torch.equal(found.hidden, HIDDEN)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "[]",
        "{}",
        "nan",
        json.dumps({"levels": 3, "hidden": "AAAA"}),
        json.dumps({"levels": "é", "hidden": "AAAA"}),
        json.dumps({"levels": "AAAA", "hidden": "AAAA"}),
        "[" * 100_000,
    ],
)
def test_what_is_no_drawing_is_refused(text):
    with pytest.raises(DataError, match=r"^the canvas sent no drawing of 3x4 pixels; reload the page$"):
        read_drawing(text, SHAPE)


def test_an_empty_canvas_is_refused():
    with pytest.raises(DataError, match=r"^the canvas is empty; "):
        read_drawing(write_drawing(Drawing(torch.zeros_like(LEVELS), HIDDEN)), SHAPE)


def test_a_picture_of_the_right_size_is_read():
    assert torch.equal(read_upload(base64_of(png(LEVELS[0].numpy())), SHAPE), LEVELS)


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (None, DataError, "^the picture is too large"),
        (7, DataError, "^the picture is too large"),
        ("A" * 2**22, DataError, "^the picture is too large"),
        ("?", DataError, "^the browser sent no file"),
        ("é", DataError, "^the browser sent no file"),
        (base64_of(b"x"), DataError, "^the picture is no PNG file, or it is damaged$"),
        (base64_of(png(LEVELS[0].numpy(), "GIF")), DataError, "^the picture is no PNG file"),
        (base64_of(png(LEVELS[0].numpy())[:50]), DataError, "^the picture is no PNG file"),
        (base64_of(bomb(40_000, 40_000)), DataError, "^the picture has too many pixels; at most 4,194,304 are read$"),
        (base64_of(bomb(3000, 3000)), DataError, "^the picture has too many pixels"),
        (base64_of(bomb(2000, 2000)), DataError, "^the picture is no PNG file, or it is damaged$"),
        (base64_of(png(LEVELS[0].T.numpy())), ShapeError, r"^the picture is 3x4 pixels, this flow takes 4x3"),
        (base64_of(png(np.zeros((3, 4, 4), np.uint8))), DataError, "^the picture has transparent pixels"),
    ],
)
def test_other_files_are_refused(content, error, message):
    with pytest.raises(error, match=message):
        read_upload(content, SHAPE)


def test_a_file_of_more_than_a_mebibyte_is_refused():
    with pytest.raises(DataError, match=r"^the picture has 1,048,577 bytes"):
        decode_png(bytes(2**20 + 1))
