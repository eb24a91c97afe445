"""Class labels of images: reading them from an array, and checking them against the classes of a model."""

import numpy as np
import torch
from torch import Tensor

from nf_mnist.data.sets import NO_LABEL
from nf_mnist.errors import ConfigError, DataError


def labels_from(array: np.ndarray | None, n_images: int, source: str) -> Tensor:
    """Return labels as int64, shape (n_images,); :data:`NO_LABEL` everywhere if there is no array.

    Args:
        array: The array, or None.
        n_images: Number of images.
        source: Name of the array and of its file, for messages.

    Raises:
        DataError: If the array has another shape, or holds anything but whole numbers from 0.
    """
    if array is None:
        return torch.full((n_images,), NO_LABEL)
    if array.shape != (n_images,):
        raise DataError(f"{source} has shape {array.shape}; expected ({n_images},)")
    if array.dtype.kind not in "iuf":
        raise DataError(f"{source} holds {array.dtype}; expected whole numbers from 0")
    is_label = (array >= 0) & (array < 2**31) & (array == np.floor(array))  # NaN is unequal to itself
    if not is_label.all():
        row = int(np.argmin(is_label))
        raise DataError(f"{source} holds {array[row]} in row {row}; expected whole numbers from 0")
    return torch.from_numpy(array.astype(np.int64))


def check_labels(labels: Tensor, n_classes: int, user: str, source: str, setting: str = "") -> None:
    """Check that all labels are classes of a model.

    Args:
        labels: The labels, shape (n,).
        n_classes: Number of classes.
        user: What takes labels, with a verb before "labels", for the message.
        source: Where the labels are from, for the message; may be empty.
        setting: The setting of the number of classes, if there is one.

    Raises:
        ConfigError: If a label is missing, or not one of the classes.
    """
    low, high = int(labels.min()), int(labels.max())
    wanted, place = f"{user} labels 0 to {n_classes - 1}", source and f" ({source})"
    if low == NO_LABEL:
        advice = f"; add them, or leave {setting} at 0" if setting else ""
        raise ConfigError(f"{wanted}, the images have none{place and f': there is no {source}'}{advice}")
    if low < 0 or high >= n_classes:
        advice = f"; use {setting}={high + 1}" if setting and low >= 0 else ""
        raise ConfigError(f"{wanted}, the images have {low} to {high}{place}{advice}")
