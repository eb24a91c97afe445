"""Image sets as uint8 tensors: the bundled MNIST, splits and samples."""

import gzip
import zlib
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from nf_mnist.checkpoints.checksums import SUMS_FILE, read_sums, sha256
from nf_mnist.data.files import check_regular_file
from nf_mnist.errors import DataError

NO_LABEL = -1
ASSETS = Path(str(files("nf_mnist"))) / "assets" / "mnist"


class Images(NamedTuple):
    """Images and their labels.

    Attributes:
        levels: Grey levels, shape (n, 1, height, width) and dtype uint8.
        labels: Class labels, shape (n,) and dtype int64; :data:`NO_LABEL` where an image has none.
        labels_source: Where the labels are from, or would be, for messages: the array and its file.
    """

    levels: Tensor
    labels: Tensor
    labels_source: str = ""

    def select(self, index: Tensor) -> "Images":
        """Return the images of some indices, shape (k,); ``index_select`` is several times as fast as ``[]`` here."""
        return self._replace(levels=self.levels.index_select(0, index), labels=self.labels.index_select(0, index))


class ImageSet(NamedTuple):
    """An image set.

    Attributes:
        train: Images for training and validation.
        test: Images of the official test set.
    """

    train: Images
    test: Images


def mnist(folder: str | Path = ASSETS) -> ImageSet:
    """Read the four official MNIST files, gzipped, without unpacking them to disk.

    Args:
        folder: Folder of the files and of ``SHA256SUMS``, the checksums of their unzipped content.

    Raises:
        DataError: If a file is missing, or its content does not have its checksum.
    """
    folder = Path(folder)
    checksums = read_sums(_read(folder / SUMS_FILE).decode())

    def images(prefix: str) -> Images:
        levels, labels = (
            _read_idx(folder / f"{prefix}-{kind}.gz", checksums[f"{prefix}-{kind}"])
            for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")
        )
        return Images(levels.unsqueeze(1), labels.long())

    return ImageSet(images("train"), images("t10k"))


def split(images: Images, n_first: int | float, seed: int) -> tuple[Images, Images]:
    """Split images at random into two parts.

    Both parts are in random order, so the beginning of either part is itself a random sample.

    Args:
        images: Images to split.
        n_first: Number of images in the first part, or their share if below 1.
        seed: Seed for the split.

    Returns:
        The first part, and the rest.

    Raises:
        DataError: If either part would be empty.
    """
    total = len(images.levels)
    size = round(n_first * total) if 0 < n_first < 1 else int(n_first)
    if not 0 < size < total:
        raise DataError(f"cannot set {n_first} of {total} images apart; both parts need at least one")
    order = torch.randperm(total, generator=torch.Generator().manual_seed(seed))
    first, rest = order[:size], order[size:]
    return images.select(first), images.select(rest)


def random_subset(images: Images, n: int | None, seed: int) -> tuple[Images, Tensor]:
    """Return n images drawn without replacement, and their indices; all images in their order if n is None.

    The sample is random because the first test images of MNIST are easier than the rest.

    Args:
        images: Images to draw from.
        n: Number of images, or None.
        seed: Seed for the sample.
    """
    total = len(images.levels)
    if n is None or n >= total:
        return images, torch.arange(total)
    index = torch.randperm(total, generator=torch.Generator().manual_seed(seed))[:n]
    return images.select(index), index


def _read(path: Path) -> bytes:
    try:
        check_regular_file(path)
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read the data file {path}: {error.strerror or error}") from error


def _read_idx(path: Path, expected: str) -> Tensor:
    """Read a gzipped IDX file of unsigned bytes, http://yann.lecun.com/exdb/mnist."""
    try:
        content = gzip.decompress(_read(path))
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} is damaged: {error}; restore it from the repository") from error
    found = sha256(content)
    if found != expected:
        raise DataError(
            f"{path} is damaged: its SHA-256 is {found}, expected {expected}; restore it from the repository"
        )
    n_axes = content[3]
    shape = [int.from_bytes(content[4 + 4 * axis : 8 + 4 * axis], "big") for axis in range(n_axes)]
    return torch.frombuffer(bytearray(content[4 + 4 * n_axes :]), dtype=torch.uint8).reshape(shape)
