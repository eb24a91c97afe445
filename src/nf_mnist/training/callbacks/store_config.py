"""The configuration of a run, stored in its checkpoints and in TensorBoard."""

from typing import Any

import lightning as L

from nf_mnist import __version__
from nf_mnist.hardware import describe
from nf_mnist.training.callbacks.base import tensorboard_writers
from nf_mnist.training.callbacks.dashboard import write_dashboard


class StoreConfig(L.Callback):
    """Put the resolved configuration, the version and the hardware into each checkpoint, as plain dicts and texts.

    A checkpoint can then be read without the run that wrote it. TensorBoard gets the configuration, too, and a layout
    of charts; see :func:`~nf_mnist.training.callbacks.dashboard.write_dashboard`.

    Args:
        config: The resolved configuration of the run.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for writer in tensorboard_writers(trainer):
            write_dashboard(writer, self.config)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["config"] = self.config
        checkpoint["nf_mnist_version"] = __version__
        checkpoint["hardware"] = describe(pl_module.device)
