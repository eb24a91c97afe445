"""Metrics of a training as CSV."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger

from nf_mnist.checkpoints.writing import write_text
from nf_mnist.training.callbacks.resumable import is_validation_to_come


def rewind_metrics(trainer: L.Trainer, checkpoint: Mapping[str, Any] | None) -> None:
    """Let the metrics of a run end where its training begins; see :meth:`ResumableCSVLogger.rewind`."""
    for logger in trainer.loggers:
        if isinstance(logger, ResumableCSVLogger):
            logger.rewind(checkpoint)


class ResumableCSVLogger(CSVLogger):
    """Appends to the metrics of a run that is resumed; Lightning's logger would delete them."""

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """Return the writer of ``metrics.csv``."""
        if self._experiment is None:
            metrics = Path(self.log_dir) / "metrics.csv"
            set_aside = metrics.with_name(".metrics.csv")
            if metrics.is_file():
                metrics.replace(set_aside)
            writer = super().experiment  # deletes metrics.csv
            if set_aside.is_file():
                set_aside.replace(metrics)
                with metrics.open() as file:
                    writer.metrics_keys = file.readline().strip().split(",")
        return self._experiment

    def rewind(self, checkpoint: Mapping[str, Any] | None) -> None:
        """Remove the rows of what the training does anew: of all steps, or of those after a checkpoint.

        Rows are numbered by the steps before their own. Those of a validation have the number of the step before it.

        Args:
            checkpoint: The checkpoint that the training goes on from, as read, or None.
        """
        metrics = Path(self.log_dir) / "metrics.csv"
        self._experiment = None  # it knows the columns of all rows
        if not metrics.is_file():
            return
        if checkpoint is None:
            metrics.unlink()
            return
        with metrics.open(newline="") as file:
            reader = csv.DictReader(file)
            rows = [row for row in reader if _is_kept(row, checkpoint)]
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, reader.fieldnames or [])
        writer.writeheader()
        writer.writerows(rows)
        write_text(metrics, text.getvalue())


def _is_kept(row: Mapping[str, str], checkpoint: Mapping[str, Any]) -> bool:
    """Return whether a row is of a step, or of a validation, that lies before a checkpoint."""
    step, n_steps = row.get("step") or "", checkpoint["global_step"]
    if not step.isdecimal() or int(step) >= n_steps:
        return False
    is_of_training = any(value for key, value in row.items() if key.startswith("train/"))
    return is_of_training or int(step) < n_steps - 1 or not is_validation_to_come(checkpoint)
