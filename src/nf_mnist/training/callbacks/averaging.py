"""A moving average of the weights, which validation, checkpoints and metrics use."""

import itertools
from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from nf_mnist.errors import check_range


class AverageWeights(WeightAveraging):
    """Keep an exponential moving average of weights and statistics (Polyak and Juditsky 1992), updated at each step.

    Lightning's own class also averages integers, such as the order of a permutation, and rounds the average down. Here
    integers take their present values. It also reads a counter from the device in every step and updates each tensor on
    its own. Here the counter is one of the host's, and all tensors are updated together.

    The average remembers little at first (:func:`decay_after`). Otherwise it would hold initial weights for thousands
    of steps, and a short training would be validated by them.

    Args:
        decay: Share of the old average that each step keeps, once training has gone on for long enough.

    Raises:
        ConfigError: If ``decay`` is outside [0, 1].
    """

    def __init__(self, decay: float = 0.999) -> None:
        check_range(0, 1, decay=decay)
        super().__init__()
        self.decay = decay
        self._last_weights: dict[str, Any] | None = None  # not averaged, after the last step

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step > self._latest_update_step:
            average = cast(AveragedModel, self._average_model)
            decay = decay_after(self._latest_update_step, self.decay)
            move_average(_values(average.module), _values(pl_module), decay)
            average.n_averaged += 1
            self._latest_update_step = trainer.global_step

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Take over the average; layers that keep a norm of their weights measure it anew when their mode changes."""
        super().on_validation_epoch_start(trainer, pl_module)
        pl_module.train().eval()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keep the last weights, which the average replaces, so that the run can go on from them."""
        self._last_weights = {name: value.clone() for name, value in pl_module.state_dict().items()}
        super().on_train_end(trainer, pl_module)

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        super().on_save_checkpoint(trainer, pl_module, checkpoint)
        if trainer.state.fn != TrainerFn.FITTING and self._last_weights is not None:
            checkpoint["current_model_state"] = self._last_weights


def decay_after(n_steps: int, decay: float) -> float:
    """Return the share of the old average that the next step keeps: ``min(decay, (1 + n) / (10 + n))`` after n steps.

    This is the schedule of TensorFlow's ``ExponentialMovingAverage``. The first step takes over the weights.
    """
    return min(decay, (1 + n_steps) / (10 + n_steps)) if n_steps else 0.0


@torch.no_grad()
def move_average(averages: list[Tensor], values: list[Tensor], decay: float) -> None:
    """Move averages in place towards present values by a share of ``1 - decay``; integers take the present values."""
    pairs = list(zip(averages, values, strict=True))
    moving = [pair for pair in pairs if decay and pair[0].is_floating_point()]
    copied = [pair for pair in pairs if not decay or not pair[0].is_floating_point()]
    if moving:
        torch._foreach_lerp_([average for average, _ in moving], [value for _, value in moving], 1 - decay)
    if copied:
        torch._foreach_copy_([average for average, _ in copied], [value for _, value in copied])


def _values(module: nn.Module) -> list[Tensor]:
    return list(itertools.chain(module.parameters(), module.buffers()))
