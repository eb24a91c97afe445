"""The images of a configuration."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, ListConfig, OmegaConf

from nf_mnist.app.composing import instantiate
from nf_mnist.data import Images, ImageSet, fingerprint, split
from nf_mnist.errors import ConfigError

if TYPE_CHECKING:
    from nf_mnist.training.datamodule import ImageDataModule


def build_datamodule(cfg: DictConfig) -> "ImageDataModule":
    """Build the data module of a configuration.

    Raises:
        ConfigError: If the shape of an image is no list.
    """
    from nf_mnist.training.datamodule import ImageDataModule  # imports Lightning

    if not isinstance(cfg.data.event_shape, ListConfig):
        raise ConfigError(f"data.event_shape must be [channels,height,width], got {cfg.data.event_shape!r}")
    return ImageDataModule(
        source=lambda: instantiate(cfg.data.source),
        event_shape=tuple(cfg.data.event_shape),
        n_validation=cfg.data.n_validation,
        split_seed=cfg.data.split_seed,
        batch_size=cfg.data.batch_size,
        eval_batch_size=cfg.data.eval_batch_size,
        seed=cfg.seed,
    )


def load_split(data: DictConfig, name: str) -> tuple[Images, Images]:
    """Return the images of a ``data`` node's split, ``validation`` or ``test``, and its training images.

    A warning says if the node is of a training run that used other images.

    Raises:
        ConfigError: If the source gives no training and test images.
    """
    found = instantiate(data.source)
    if not isinstance(found, tuple) or len(found) != 2 or not all(isinstance(part, Images) for part in found):
        raise ConfigError("data.source must give training and test images, an ImageSet")
    _check_images(data, None if data.get("sha256") is None else fingerprint(ImageSet(*found)))
    images, test = found
    validation, train = split(images, data.n_validation, data.split_seed)
    return (test if name == "test" else validation), train


def record_images(cfg: DictConfig, sha256: str) -> None:
    """Write into the configuration, which checkpoints hold, where the images of a run are, and their checksum.

    A configuration that is repeated has a checksum already; a warning says if it is of other images.
    """
    source = cfg.data.source
    for key in ("path", "folder", "root"):
        if isinstance(source.get(key), str):
            source[key] = str(Path(source[key]).absolute())
    _check_images(cfg.data, sha256)
    OmegaConf.update(cfg, "data.sha256", sha256, force_add=True)


def _check_images(data: DictConfig, sha256: str | None) -> None:
    """Warn if the images of a ``data`` node have another checksum than those that the node was recorded with."""
    if data.get("sha256") not in (None, sha256):
        warnings.warn(
            "these are not the images of the training run: data.source gives others now (their data.sha256 differs)",
            stacklevel=2,
        )
