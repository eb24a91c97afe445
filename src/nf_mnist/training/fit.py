"""A training from its start, or from a checkpoint, to the checkpoint with the best validation loss."""

import math
import shutil
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import Timer

from nf_mnist.checkpoints.writing import atomic_write
from nf_mnist.errors import DivergenceError
from nf_mnist.training.callbacks import SaveBest
from nf_mnist.training.checkpoint_io import how_to_resume
from nf_mnist.training.datamodule import ImageDataModule
from nf_mnist.training.lookup import all_callbacks, best_savers, callbacks_of, least_validation_loss
from nf_mnist.training.module import FlowModule


def fit(
    trainer: L.Trainer,
    module: FlowModule,
    datamodule: ImageDataModule,
    run_dir: Path,
    ckpt: str | None,
    begin: Callable[[], None],
) -> tuple[Path, float]:
    """Train, then validate and save the last weights.

    The last weights are often the best, and a budget may end between two validations.

    Args:
        trainer: A trainer with a ModelCheckpoint that monitors ``val/loss``, such as SaveBest.
        module: The module to train.
        datamodule: The images to train on and to validate on.
        run_dir: The folder of the run; checkpoints are written into ``checkpoints`` in it.
        ckpt: The checkpoint to resume from, or None.
        begin: Called once, before anything is written: before the first step, when Lightning's own checks are through,
            or before the last validation if no step is left.

    Returns:
        The checkpoint with the least validation loss, and that loss in nats per image, a finite number.

    Raises:
        DivergenceError: If the loss is not finite, in training or in every validation.
    """
    last, best = run_dir / "checkpoints" / "last.ckpt", run_dir / "checkpoints" / "best.ckpt"
    beginning = _Beginning(begin)
    all_callbacks(trainer).insert(0, beginning)
    trainer.fit(module, datamodule=datamodule, ckpt_path=ckpt, weights_only=True)
    beginning.begin()
    last_loss = trainer.validate(module, datamodule=datamodule, verbose=False)[0]["val/loss"]
    best_loss = least_validation_loss(trainer)
    is_best = last_loss < best_loss
    if is_best:
        for callback in best_savers(trainer):
            if isinstance(callback, SaveBest):
                callback.take(best, last_loss)
    trainer.save_checkpoint(last)  # after the validation, which may have renewed BatchNorm's statistics
    if is_best and trainer.is_global_zero:
        with last.open("rb") as source:
            atomic_write(best, partial(shutil.copyfileobj, source), how_to_resume(best.parent))
    trainer.strategy.barrier()
    least = min(loss for loss in (last_loss, best_loss) if not math.isnan(loss))
    if math.isinf(least):
        raise DivergenceError("the validation loss was never finite, so no checkpoint is the best; lower optimizer.lr")
    return best, least


class _Beginning(L.Callback):
    """Calls a function once, before the first step at the latest."""

    def __init__(self, function: Callable[[], None]) -> None:
        self.function, self.has_begun = function, False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.begin()

    def begin(self) -> None:
        if not self.has_begun:
            self.has_begun = True
            self.function()


def training_seconds(trainer: L.Trainer) -> float:
    """Return the seconds that training took, all resumes together, or NaN if no callback counts them."""
    return next((timer.time_elapsed() for timer in callbacks_of(trainer, Timer)), math.nan)


def log_metrics(trainer: L.Trainer, metrics: Mapping[str, float]) -> None:
    """Log the metrics that a run has reached; TensorBoard shows them beside the settings, under HParams."""
    for logger in trainer.loggers:
        logger.log_metrics(dict(metrics), step=trainer.global_step)
        logger.save()
