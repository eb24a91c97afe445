"""The images of a configuration."""

from typing import TYPE_CHECKING

from omegaconf import DictConfig, ListConfig

from nf_mnist.app.composing import instantiate
from nf_mnist.data import Images, split
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

    Raises:
        ConfigError: If the source gives no training and test images.
    """
    found = instantiate(data.source)
    if not isinstance(found, tuple) or len(found) != 2 or not all(isinstance(part, Images) for part in found):
        raise ConfigError("data.source must give training and test images, an ImageSet")
    images, test = found
    validation, train = split(images, data.n_validation, data.split_seed)
    return (test if name == "test" else validation), train
