"""Reading a user's own picture as grey levels."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from nf_mnist.errors import DataError


def read_picture(path: str | Path) -> Tensor:
    """Return the grey levels of a picture, shape (1, height, width) and dtype uint8.

    Raises:
        DataError: If the file is missing or is not a picture.
    """
    try:
        with Image.open(path) as picture:
            return torch.from_numpy(np.array(picture.convert("L")))[None]
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise DataError(f"{path} is missing or no picture: {str(error).splitlines()[0]}") from error
