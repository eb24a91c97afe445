"""Sets of MNIST's shape that torchvision reads and downloads."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from nf_mnist.data.sets import Images, ImageSet
from nf_mnist.errors import ConfigError, DataError, first_line

TORCHVISION_SETS = ("MNIST", "FashionMNIST", "KMNIST", "EMNIST")  # of torchvision, those of MNIST's shape
EMNIST_CLASSES = {"byclass": 62, "bymerge": 47, "balanced": 47, "letters": 26, "digits": 10, "mnist": 10}  # by split


def torchvision_set(name: str, root: str, split: str | None = None, *, download: bool = True) -> ImageSet:
    """Read a set of MNIST's shape through torchvision, which downloads it if it is not in ``root``.

    The files of EMNIST hold transposed images, and count letters from 1 (Cohen et al. 2017, "EMNIST"). Here images are
    upright and labels begin at 0.

    Args:
        name: Name of a set in :data:`TORCHVISION_SETS`.
        root: Folder for downloads.
        split: For EMNIST, a split of :data:`EMNIST_CLASSES`; None for the others.
        download: Whether to download a set that is not there. If not, nothing is written.

    Raises:
        ConfigError: If there is no set of that name, or no split.
        DataError: If the set is damaged, is not there and is not downloaded, or the download fails.
    """
    from torchvision import datasets

    if name not in TORCHVISION_SETS:
        raise ConfigError(f"unknown set {name!r}; choose one of {', '.join(TORCHVISION_SETS)}")
    if name != "EMNIST":
        if split is not None:
            raise ConfigError(f"{name} has no split {split!r}; leave the split out, or choose EMNIST")
        source = getattr(datasets, name)
        return _read(name, source, [Path(file).stem for file, _ in source.resources], root, download)
    if split not in EMNIST_CLASSES:
        raise ConfigError(f"unknown split {split!r} of EMNIST; choose one of {', '.join(EMNIST_CLASSES)}")
    kinds = ("images-idx3-ubyte", "labels-idx1-ubyte")
    files = [f"emnist-{split}-{part}-{kind}" for part in ("train", "test") for kind in kinds]
    both = _read(name, partial(datasets.EMNIST, split=split), files, root, download)
    return ImageSet(*(_upright(images, first_label=int(split == "letters")) for images in both))


def _upright(images: Images, first_label: int) -> Images:
    return images._replace(levels=images.levels.transpose(2, 3).contiguous(), labels=images.labels - first_label)


def _read(name: str, source: Callable[..., Any], files: list[str], root: str, download: bool) -> ImageSet:
    """Read both parts of a set.

    Args:
        name: Name of the set, which is that of its folder.
        source: Torchvision's reader.
        files: Names of the unpacked files.
        root: Folder for downloads.
        download: Whether to download a set that is not there.
    """
    folder = Path(root, name, "raw")
    is_there = all((folder / file).exists() for file in files)

    def images(train: bool) -> Images:
        try:
            dataset = source(root, train=train, download=download)
        except Exception as error:  # a damaged file can raise anything
            if is_there:
                raise DataError(
                    f"{name} in {folder} is damaged or was not downloaded whole: {first_line(error)}; remove it"
                ) from error
            if not download:
                raise DataError(
                    f"{name} is not in {root}, and a checkpoint downloads nothing; name the data to download them, "
                    "such as data=fashion_mnist, or copy them here"
                ) from error
            raise DataError(
                f"{name} is not in {root} and could not be downloaded ({error}); on a machine with network run the "
                f"same command once and copy {root} here, or use data=mnist, which is bundled"
            ) from error
        return Images(dataset.data.unsqueeze(1), dataset.targets.long())

    return ImageSet(images(True), images(False))
