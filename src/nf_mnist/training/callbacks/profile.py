"""A trace of a few training steps."""

from pathlib import Path
from typing import Any

import lightning as L
from torch.profiler import profile, schedule, tensorboard_trace_handler

from nf_mnist.checkpoints.writing import write_text
from nf_mnist.errors import check_range

N_OPERATIONS = 30  # rows of the table


class ProfileSteps(L.Callback):
    """Write which operations a few steps consist of, and how long each takes.

    https://ui.perfetto.dev and TensorBoard's profiler plugin read the trace, ``*.pt.trace.json``. ``operations.txt``
    lists the operations that take most time themselves.

    Args:
        folder: The folder to write into.
        n_skipped: Number of steps before the recorded ones; the first steps are slower than all others.
        n_steps: Number of steps to record.

    Raises:
        ConfigError: If a number is below 1.
    """

    def __init__(self, folder: str, n_skipped: int, n_steps: int) -> None:
        check_range(1, n_skipped=n_skipped, n_steps=n_steps)
        self.folder = Path(folder)
        plan = schedule(wait=0, warmup=n_skipped, active=n_steps, repeat=1)
        self.profiler = profile(schedule=plan, on_trace_ready=self._write)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            self.profiler.start()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.is_global_zero:
            self.profiler.step()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.is_global_zero:
            self.profiler.stop()

    def _write(self, profiler: profile) -> None:
        tensorboard_trace_handler(str(self.folder))(profiler)
        on_gpu = any(event.self_device_time_total for event in profiler.key_averages())
        key = f"self_{'cuda' if on_gpu else 'cpu'}_time_total"
        table = profiler.key_averages().table(sort_by=key, row_limit=N_OPERATIONS, max_name_column_width=60)
        write_text(self.folder / "operations.txt", table + "\n")
