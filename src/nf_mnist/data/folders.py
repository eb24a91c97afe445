"""A user's own images, from pictures in a folder."""

from pathlib import Path

import numpy as np

from nf_mnist.data.pictures import read_picture
from nf_mnist.errors import DataError

PICTURES = {".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".tif", ".tiff"}


def read_folder(folder: Path) -> dict[str, np.ndarray]:
    """Read all pictures of a folder as arrays, with the names that an ``.npz`` file has.

    Pictures lie in the folder itself, without labels, or in a folder for each class, whose labels are 0, 1, ... in the
    order of their names. Folders ``train`` and ``test`` hold the training and the test images in the same way.

    Args:
        folder: The folder.

    Returns:
        ``images``, shape (n, height, width) and dtype uint8, and ``labels``, shape (n,), if there are class folders;
        with folders ``train`` and ``test`` also ``test_images`` and ``test_labels``.

    Raises:
        DataError: If there are no pictures, if one cannot be read, is of another size than the first, or lies beside
            class folders, or if the classes of training and test images differ.
    """
    if not ((folder / "train").is_dir() and (folder / "test").is_dir()):
        return _read_part(folder, _classes(folder))
    classes, test_classes = _classes(folder / "train"), _classes(folder / "test")
    if classes != test_classes:
        raise DataError(f"{folder}: the class folders of train and test differ: {classes} and {test_classes}")
    test = {f"test_{name}": array for name, array in _read_part(folder / "test", classes).items()}
    return {**_read_part(folder / "train", classes), **test}


def _classes(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _read_part(folder: Path, classes: list[str]) -> dict[str, np.ndarray]:
    """Return ``images``, and ``labels`` if there are classes, of one folder."""
    loose = _pictures(folder)
    if classes and loose:
        raise DataError(f"{loose[0]} lies beside the class folders {', '.join(classes)}; move it into one of them")
    labelled = [(path, label) for label, name in enumerate(classes) for path in _pictures(folder / name)]
    paths = [path for path, _ in labelled] or loose
    if not paths:
        raise DataError(f"{folder} has no pictures ({', '.join(sorted(PICTURES))}), nor class folders with pictures")
    images = [read_picture(path)[0].numpy() for path in paths]
    for path, image in zip(paths, images, strict=True):
        if image.shape != images[0].shape:
            raise DataError(
                f"{path} has {image.shape[0]}x{image.shape[1]} pixels, and {paths[0]} has "
                f"{images[0].shape[0]}x{images[0].shape[1]}; all pictures must be of one size"
            )
    found = {"images": np.stack(images)}
    return {**found, "labels": np.array([label for _, label in labelled])} if classes else found


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in PICTURES and not path.is_dir())
