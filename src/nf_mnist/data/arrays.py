"""A user's own images, from arrays in an ``.npz`` file."""

import numpy as np
import torch

from nf_mnist.data.files import check_regular_file
from nf_mnist.data.labels import labels_from
from nf_mnist.data.sets import Images, ImageSet, split
from nf_mnist.errors import DataError, first_line


def array_file(path: str, test_fraction: float, split_seed: int) -> ImageSet:
    """Read a user's own grey images from an ``.npz`` file.

    The file holds ``images``, shape (n, height, width) and dtype uint8, and optionally ``labels``, ``test_images`` and
    ``test_labels``, which are whole numbers from 0. Without test images, a random part of the images becomes the test
    set. Images without labels have :data:`~nf_mnist.data.sets.NO_LABEL`.

    Args:
        path: Path of the file.
        test_fraction: Share of the images that is held out if the file has no test images.
        split_seed: Seed for the choice of held-out images.

    Raises:
        DataError: If the file cannot be read or has no images, if images are not uint8 with three axes, or labels are
            not whole numbers from 0.
    """
    arrays = _read_npz(path)
    images = _images_of(arrays, "images", "labels", path)
    if "test_images" in arrays:
        return ImageSet(images, _images_of(arrays, "test_images", "test_labels", path))
    test, train = split(images, test_fraction, split_seed)
    return ImageSet(train, test)


def array_event_shape(path: str | None) -> list[int]:
    """Return (1, height, width) of the images in a user's ``.npz`` file.

    Raises:
        DataError: If the file cannot be read or has no images, if images are not uint8 with three axes, or labels are
            not whole numbers from 0.
    """
    return list(_images_of(_read_npz(path), "images", "labels", path).levels.shape[1:])


def _read_npz(path: str | None) -> dict[str, np.ndarray]:
    if path is None:
        raise DataError("data=array needs the file of the images: path=images.npz")
    try:
        check_regular_file(path)
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except Exception as error:  # a damaged file can raise anything in the readers of zip files and arrays
        raise DataError(
            f"cannot read images from {path}: {first_line(error)}; expected an .npz file with 'images'"
        ) from error


def _images_of(arrays: dict[str, np.ndarray], key: str, label_key: str, path: str | None) -> Images:
    if key not in arrays:
        raise DataError(f"{path} has no array {key!r}, only {', '.join(map(repr, arrays)) or 'nothing'}")
    array = arrays[key]
    if array.dtype != np.uint8 or array.ndim != 3 or not array.size:
        raise DataError(
            f"{key!r} in {path} is {array.dtype} of shape {array.shape}; expected uint8 levels 0 to 255 of shape "
            "(n, height, width)"
        )
    source = f"{label_key!r} in {path}"
    return Images(torch.from_numpy(array).unsqueeze(1), labels_from(arrays.get(label_key), len(array), source), source)
