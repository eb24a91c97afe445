"""The processes in which a training runs."""

import lightning as L
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher

from nf_mnist.errors import ConfigError


def check_launcher(trainer: L.Trainer, strategy: object) -> None:
    """Refuse strategies that train in copies of this process: the trained weights would be lost with them.

    Args:
        trainer: The trainer.
        strategy: The setting ``trainer.strategy``, for the message.

    Raises:
        ConfigError: If the strategy is one of them, such as ``ddp_spawn``.
    """
    if isinstance(trainer.strategy.launcher, _MultiProcessingLauncher):
        raise ConfigError(f"trainer.strategy={strategy} is not supported; use trainer.strategy=ddp")
