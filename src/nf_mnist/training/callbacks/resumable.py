"""Checkpoints from which a run continues as if it had never stopped."""

import contextlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from nf_mnist.checkpoints.reading import read_checkpoint
from nf_mnist.errors import CheckpointError


def is_validation_to_come(checkpoint: Mapping[str, Any]) -> bool:
    """Return whether a checkpoint was saved at the beginning of a validation, which a resumed run repeats."""
    total = checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]["total"]
    return bool(total["ready"] > total["completed"])


class SaveInFolder(ModelCheckpoint):
    """ModelCheckpoint whose restored state names only files in its own folder, because it deletes what it names.

    A checkpoint may come from anybody, and its paths may lead anywhere. Of each path only the name is used, and a path
    without a file in the folder is forgotten. The folder may therefore also have been moved.
    """

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the paths and scores of checkpoints that lie in this folder."""
        names = ("best_model_path", "kth_best_model_path", "last_model_path")
        paths: dict[str, Any] = {name: self._here(state_dict.get(name)) for name in names}
        scores = state_dict.get("best_k_models")
        kept = {self._here(path): score for path, score in scores.items()} if isinstance(scores, dict) else {}
        kept.pop("", None)
        if paths["kth_best_model_path"] not in kept:
            kept = {}
        super().load_state_dict({**state_dict, **paths, "best_k_models": kept, "dirpath": self.dirpath})

    def _here(self, path: object) -> str:
        """Return the file of that name in this folder, or "" if there is none."""
        if not isinstance(path, str):
            return ""
        here = Path(self.dirpath or "") / Path(path).name
        return str(here) if here.is_file() else ""


class SaveBest(SaveInFolder):
    """Saves after each validation that is better than all before, also if the folder of the run has been moved.

    Lightning's ModelCheckpoint forgets its best score when the folder has another name, so that the next validation,
    even a worse one, would replace the best checkpoint. A run that goes back to an earlier step would also replace one
    that is better than all up to that step. SaveBest therefore reads its score from the file. It takes the same
    arguments.
    """

    @property
    def state_key(self) -> str:
        """Return the name that ModelCheckpoint gives its state, so that its checkpoints can be resumed."""
        return super().state_key.replace(type(self).__qualname__, ModelCheckpoint.__qualname__)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the paths and scores, if the best checkpoint lies in this folder; it may be a later one."""
        if best := self._here(state_dict.get("best_model_path")) or self._here("best.ckpt"):
            super().load_state_dict(state_dict)
            if (score := self._score_in(best)) < _number(self.best_model_score):
                self.take(Path(best), score)

    def _score_in(self, path: str) -> float:
        """Return the score of a checkpoint that this callback saved, or infinity."""
        with contextlib.suppress(CheckpointError, LookupError, TypeError, AttributeError):
            return _number(read_checkpoint(path)["callbacks"][self.state_key]["best_model_score"])
        return math.inf

    def take(self, path: Path, score: float) -> None:
        """Make a file in this folder the best checkpoint; it holds the weights with this score."""
        self.best_model_path = self.kth_best_model_path = str(Path(self.dirpath or "") / path.name)
        self.best_model_score = self.kth_value = torch.tensor(score)
        self.best_k_models = {self.best_model_path: self.best_model_score}


def _number(score: object) -> float:
    """Return a score as a number, and infinity for none."""
    is_score = isinstance(score, Tensor) and score.numel() == 1 and score.is_floating_point()
    return score.item() if is_score and isinstance(score, Tensor) else math.inf


class SaveResumable(SaveInFolder):
    """Saves every ``every_n_train_steps``, at the beginning of each validation, and when the run is told to stop.

    A checkpoint at the beginning of a validation has a mark that the validation is still to come. A run that is killed
    in a validation therefore repeats it when it is resumed, and chooses the same best checkpoint. A step is saved only
    after its last batch, because accumulated gradients are not part of a checkpoint. A checkpoint that is saved after
    the training, too, holds the position after the last step, so that a run can go on with a larger budget. Lightning
    would count an epoch that the budget ended as complete. SaveResumable takes the arguments of ModelCheckpoint.
    """

    _validation_is_to_come = False
    _position: dict[str, Any] | None = None  # of the loops and the loader after the latest step that may be the last

    def on_load_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        """Keep the position in a checkpoint for the case that no step is left."""
        self._position = checkpoint["loops"]["fit_loop"]

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Begin the next epoch as usual after a checkpoint at the end of one; Lightning would not count it."""
        loop = trainer.fit_loop
        is_batch_end = loop.restarted_mid_epoch and loop.epoch_loop.restarted_on_train_batch_end
        if is_batch_end and loop.epoch_loop.batch_progress.is_last_batch:
            loop.reset_restart_stage()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        loop = trainer.fit_loop
        assert loop._data_fetcher is not None
        if loop._should_accumulate() or loop.epoch_loop._should_check_val_fx(loop._data_fetcher):
            return
        if trainer.should_stop or loop.epoch_loop._is_training_done:
            self._position = loop.state_dict()
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        if trainer.received_sigterm and not self._should_skip_saving_checkpoint(trainer):
            self._save_last_checkpoint(trainer, self._monitor_candidates(trainer))

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.state.fn == TrainerFn.FITTING:
            self._position = trainer.fit_loop.state_dict()
        if self._should_skip_saving_checkpoint(trainer):
            return
        self._validation_is_to_come = True
        candidates = self._monitor_candidates(trainer)
        if self._every_n_train_steps and trainer.global_step % self._every_n_train_steps == 0:
            self._save_topk_checkpoint(trainer, candidates)
        self._save_last_checkpoint(trainer, candidates)
        self._validation_is_to_come = False

    def on_save_checkpoint(self, trainer: L.Trainer, pl_module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn != TrainerFn.FITTING and self._position is not None:
            checkpoint["loops"]["fit_loop"] = self._position
        if self._validation_is_to_come:  # Lightning reads these counts as a validation that has begun
            total = checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]["total"]
            total["ready"] += 1
            total["started"] += 1
