"""A user's own images, from arrays in an ``.npz`` file or pictures in a folder."""

from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

from nf_mnist.data.files import check_regular_file
from nf_mnist.data.folders import read_folder
from nf_mnist.data.labels import labels_from
from nf_mnist.data.sets import NO_LABEL, Images, ImageSet, split
from nf_mnist.errors import DataError, first_line

KERAS_NAMES = {"x_train": "images", "y_train": "labels", "x_test": "test_images", "y_test": "test_labels"}


def array_file(path: str, test_fraction: float, split_seed: int) -> ImageSet:
    """Read a user's own grey images from an ``.npz`` file, or from a folder of pictures.

    The file holds ``images`` and optionally ``labels``, ``test_images`` and ``test_labels``, or the same under Keras'
    names: ``x_train``, ``y_train``, ``x_test`` and ``y_test``. Images are of shape (n, height, width), (n, 1, height,
    width) or (n, height, width, 1), and hold whole numbers from 0 to 255, truth values, or floats from 0 to 1, which
    are rounded to the nearest of 256 levels. Labels are whole numbers from 0. Without test images, a random part of the
    images becomes the test set. Images without labels have :data:`~nf_mnist.data.sets.NO_LABEL`. Folders are read by
    :func:`~nf_mnist.data.folders.read_folder`.

    Args:
        path: Path of the file or folder.
        test_fraction: Share of the images that is held out if there are no test images.
        split_seed: Seed for the choice of held-out images.

    Raises:
        DataError: If the file cannot be read, has no images, or images or labels of another kind.
    """
    arrays = _read(path)
    images = _images_of(arrays, "images", "labels", path)
    if "test_images" in arrays:
        return ImageSet(images, _images_of(arrays, "test_images", "test_labels", path))
    test, train = split(images, test_fraction, split_seed)
    return ImageSet(train, test)


def array_event_shape(path: str | None) -> list[int]:
    """Return (1, height, width) of a user's own images.

    Raises:
        DataError: As :func:`array_file`.
    """
    return list(_images_of(_read(path), "images", "labels", path).levels.shape[1:])


def own_images(images: Any, labels: Any = None) -> Images:
    """Return a user's own images, which are arrays or tensors of the kinds that :func:`array_file` reads.

    Args:
        images: The images.
        labels: Their class labels, shape (n,), or None.

    Raises:
        DataError: If they are of another kind.
    """
    given = {"images": images, "labels": labels}
    arrays = {name: _array(value, name) for name, value in given.items() if value is not None}
    return _images_of(arrays, "images", "labels", "the call")


def write_arrays(images: Images, file: IO[bytes]) -> None:
    """Write images and their labels, if they have any, as :func:`array_file` reads them."""
    levels, labels = images.levels.numpy(), images.labels.numpy()
    if (labels == NO_LABEL).all():
        np.savez(file, images=levels)
    else:
        np.savez(file, images=levels, labels=labels)


def _array(value: Any, name: str) -> np.ndarray:
    try:
        return np.asarray(value.detach().cpu() if isinstance(value, Tensor) else value)
    except Exception as error:  # whatever an object does that is asked for an array
        raise DataError(
            f"{name} must be an array or a tensor, got a {type(value).__name__}: {first_line(error)}"
        ) from None


def _read(path: str | None) -> dict[str, np.ndarray]:
    if path is None:
        raise DataError("data=array needs the file of the images, or a folder of pictures: path=images.npz")
    if Path(path).is_dir():
        return read_folder(Path(path))
    try:
        check_regular_file(path)
        with np.load(path, allow_pickle=False) as file:
            return {KERAS_NAMES.get(name, name): array for name, array in file.items()}
    except Exception as error:  # a damaged file can raise anything in the readers of zip files and arrays
        raise DataError(
            f"cannot read images from {path}: {first_line(error)}; expected an .npz file with 'images'"
        ) from error


def _images_of(arrays: dict[str, np.ndarray], key: str, label_key: str, path: str | None) -> Images:
    if key not in arrays:
        raise DataError(f"{path} has no array {key!r}, only {', '.join(map(repr, arrays)) or 'nothing'}")
    levels = _levels(arrays[key], f"{key!r} in {path}")
    source = f"{label_key!r} in {path}"
    labels = labels_from(arrays.get(label_key), len(levels), source)
    return Images(torch.from_numpy(levels).unsqueeze(1), labels, source)


def _levels(array: np.ndarray, source: str) -> np.ndarray:
    """Return images as levels, shape (n, height, width) and dtype uint8.

    Raises:
        DataError: If they are not grey, or their white is unknown.
    """
    shape = array.shape
    if array.ndim == 4 and 1 in (shape[1], shape[3]):
        array = array[:, 0] if shape[1] == 1 else array[..., 0]
    if array.ndim != 3 or not array.size:
        raise DataError(
            f"{source} is of shape {shape}; expected grey images of shape (n, height, width), (n, 1, height, width) or "
            "(n, height, width, 1)"
        )
    if array.dtype == bool:
        return array.astype(np.uint8) * 255
    top = {"u": 255, "i": 255, "f": 1}.get(array.dtype.kind)
    if top is None or not ((array >= 0) & (array <= top)).all():  # NaN is neither
        bounds = "" if top is None else f" from {array.min():g} to {array.max():g}"
        raise DataError(
            f"{source} holds {array.dtype}{bounds}; expected whole numbers from 0 to 255, truth values, or floats from "
            "0 to 1"
        )
    if top == 1:
        return np.rint(array * 255).astype(np.uint8)
    if array.max() == 1:
        raise DataError(f"{source} holds only 0 and 1; save them as truth values, or as 0 and 255")
    return array.astype(np.uint8)
