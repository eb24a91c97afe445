"""Metrics of a training as CSV."""

from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger


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
