"""What a checkpoint needs to be read without the run that wrote it."""

from typing import Any

import lightning as L

from nf_mnist import __version__
from nf_mnist.training.hardware import describe


class StoreConfig(L.Callback):
    """Put the resolved configuration, as plain dicts, the version and the hardware into each checkpoint.

    Args:
        config: The whole resolved configuration of the run.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["config"] = self.config
        checkpoint["nf_mnist_version"] = __version__
        checkpoint["hardware"] = describe()
