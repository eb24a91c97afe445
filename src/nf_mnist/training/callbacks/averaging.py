"""A moving average of the weights, which validation, checkpoints and metrics use."""

import functools
from typing import Any

import lightning as L
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from nf_mnist.errors import check_range


class AverageWeights(WeightAveraging):
    """Keep an exponential moving average of weights and statistics (Polyak and Juditsky 1992), updated at each step.

    Lightning's own class also averages integers, such as the order of a permutation, and rounds the average down. Here
    integers take their present values.

    Args:
        decay: Share of the old average that each step keeps.

    Raises:
        ConfigError: If ``decay`` is outside [0, 1].
    """

    def __init__(self, decay: float = 0.999) -> None:
        check_range(0, 1, decay=decay)
        super().__init__(avg_fn=functools.partial(_moving_average, decay=decay))
        self._last_weights: dict[str, Any] | None = None  # not averaged, after the last step

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep the last weights, which the average replaces, so that the run can go on from them."""
        self._last_weights = {name: value.clone() for name, value in pl_module.state_dict().items()}
        super().on_train_end(trainer, pl_module)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(trainer, pl_module, checkpoint)
        if trainer.state.fn != TrainerFn.FITTING and self._last_weights is not None:
            checkpoint["current_model_state"] = self._last_weights


def _moving_average(average: Tensor, current: Tensor, n_averaged: Tensor, *, decay: float) -> Tensor:
    return average.lerp(current, 1 - decay) if average.is_floating_point() else current
