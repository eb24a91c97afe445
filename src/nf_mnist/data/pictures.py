"""Reading a user's own picture as grey levels."""

import io
import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from nf_mnist.data.files import check_regular_file
from nf_mnist.errors import DataError, first_line

MAX_BYTES, MAX_PIXELS = 2**20, 2**22  # of a picture that somebody sends
EIGHT_BITS = {"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr"}  # modes of PIL that convert to 8-bit grey without loss


def read_picture(path: str | Path) -> Tensor:
    """Return the grey levels of a picture, shape (1, height, width) and dtype uint8.

    Levels of 16 bits are scaled, so that 0 to 65535 become 0 to 255.

    Raises:
        DataError: If the file is missing or is not a picture, if it has transparent pixels, whose grey depends on the
            background, or pixels whose white is unknown: floats, or integers of 32 bits.
    """
    try:
        check_regular_file(path)
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                picture.load()
                levels = _grey_levels(picture, path)
    except DataError:
        raise
    except Exception as error:  # a damaged file can raise anything in the decoders
        raise DataError(f"{path} is missing or no picture: {first_line(error)}") from error
    return torch.from_numpy(levels)[None]


def decode_png(content: bytes) -> Tensor:
    """Return the grey levels of a PNG file that somebody sends, as :func:`read_picture` reads them.

    The header is read first. A picture that is too large is refused before its pixels are decompressed.

    Raises:
        DataError: If the file has more than 1 MiB or the picture more than 2^22 pixels, or if it cannot be read.
    """
    if len(content) > MAX_BYTES:
        raise DataError(f"the picture has {len(content):,} bytes; at most {MAX_BYTES:,} are read")
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise Image.DecompressionBombError
            picture.load()
            return torch.from_numpy(_grey_levels(picture, "the picture"))[None]
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise DataError(f"the picture has too many pixels; at most {MAX_PIXELS:,} are read") from error
    except Exception as error:  # a damaged file can raise anything in the decoder
        raise DataError("the picture is no PNG file, or it is damaged") from error


def _grey_levels(picture: Image.Image, path: str | Path) -> np.ndarray:
    """Return the levels of an opened picture, shape (height, width) and dtype uint8."""
    is_16_bit = picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format == "PNG")
    if picture.has_transparency_data:
        if is_16_bit or picture.convert("RGBA").getchannel("A").getextrema() != (255, 255):
            raise DataError(
                f"{path} has transparent pixels, whose grey depends on the background; save it without transparency"
            )
        picture = picture.convert("RGB")
    if is_16_bit:
        return np.rint(np.asarray(picture).astype(np.float64) / 257).astype(np.uint8)
    if picture.mode not in EIGHT_BITS:
        raise DataError(f"{path} has {picture.mode} pixels, whose white is unknown; save it with 8 or 16 bits a pixel")
    return np.array(picture.convert("L"))
