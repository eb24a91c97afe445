"""A trace of some training steps."""

from pathlib import Path
from typing import Any

import lightning as L
from torch.profiler import profile, schedule, tensorboard_trace_handler

from nf_mnist.training.callbacks.base import check_counts

N_LISTED = 30  # operations in the table


class ProfileSteps(L.Callback):
    """Write what a few steps consist of, and how long each part takes.

    The trace, ``*.pt.trace.json``, is for https://ui.perfetto.dev or TensorBoard's profiler plugin; ``operations.txt``
    lists the operations that take most time by themselves.

    Args:
        folder: Where to write.
        n_skipped: Steps before those that are recorded; the first ones are slower than all others.
        n_steps: Steps to record.
    """

    def __init__(self, folder: str, n_skipped: int, n_steps: int) -> None:
        check_counts(n_skipped=n_skipped, n_steps=n_steps)
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
        table = profiler.key_averages().table(sort_by=key, row_limit=N_LISTED, max_name_column_width=60)
        (self.folder / "operations.txt").write_text(table + "\n")
