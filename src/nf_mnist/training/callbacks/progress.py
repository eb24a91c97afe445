"""One progress bar for the whole run, and its speed as a scalar."""

import sys
import time
from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.callbacks import ProgressBar

from nf_mnist.bars import Bar, open_bar
from nf_mnist.errors import check_range
from nf_mnist.metrics import bits_per_dim
from nf_mnist.training.callbacks.cores import ShareCores
from nf_mnist.training.gpu import GPULoad
from nf_mnist.training.lookup import callbacks_of, least_validation_loss
from nf_mnist.training.module import FlowModule
from nf_mnist.training.scheduled_module import ScheduledModule

UNSTABLE_RISE = 1.0  # bits per dimension; flows of images that overfit lose a tenth of it


class RunProgress(ProgressBar):
    """Shows the share of the budget that is spent, the loss, images per second and the time left.

    On a GPU it also shows the largest memory so far and the utilization, and on a CPU that others use, too, the number
    of threads. A validation that is far worse than the best one so far is called unstable. On a terminal and in a
    notebook it is a bar; elsewhere, as in a log file, it is a line every ``seconds_between_lines``. Images per second
    and the learning rate are also logged, as ``train/images_per_second`` and ``train/lr``.

    Args:
        every_n_steps: Number of steps between two refreshes.
        seconds_between_lines: Least time between two lines where no bar is shown.

    Raises:
        ConfigError: If ``every_n_steps`` is below 1.
    """

    def __init__(self, every_n_steps: int, seconds_between_lines: float = 30.0) -> None:
        super().__init__()
        check_range(1, every_n_steps=every_n_steps)
        self.every_n_steps, self.seconds_between_lines = every_n_steps, seconds_between_lines
        self._enabled = True
        self._bar: Bar | None = None
        self._images, self._since, self._speed = 0, 0.0, 0.0
        self._began, self._began_at = 0.0, 0.0
        self._last_line = float("-inf")
        self.load = GPULoad(torch.device("cpu"))

    def enable(self) -> None:
        self._enabled = True

    def disable(self) -> None:
        self._enabled = False

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._began, self._began_at = time.monotonic(), cast(ScheduledModule, pl_module).progress()
        self._images, self._since = 0, self._began
        self.load = GPULoad(trainer.strategy.root_device)
        if self._enabled and trainer.is_global_zero:
            self._bar = open_bar("starting", self._began_at)

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self._images += len(batch[0]) * trainer.world_size
        if trainer.global_step % self.every_n_steps:
            return
        self._measure_speed()
        lr = trainer.optimizers[0].param_groups[0]["lr"]
        pl_module.log_dict({"train/images_per_second": self._speed, "train/lr": lr}, batch_size=1, rank_zero_only=True)
        self._show(trainer, pl_module)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._images, self._since = 0, time.monotonic()

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self._bar is not None:  # whose last refresh may be some steps ago
            self._measure_speed()
            self._show(trainer, pl_module)
        self._stop()

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        self._stop()

    def _measure_speed(self) -> None:
        now = time.monotonic()
        if self._images:
            self._speed = self._images / (now - self._since)
        self._images, self._since = 0, now

    def _show(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not self._enabled or not trainer.is_global_zero:
            return
        progress = cast(ScheduledModule, pl_module).progress()
        parts = [f"step {trainer.global_step} {_loss(trainer)} {self._speed:.0f} images/s"]
        text = ", ".join(filter(None, [*parts, self.load.text(), _threads(trainer)]))
        if self._bar is not None:
            self._bar.update(progress, text)
        elif time.monotonic() - self._last_line > self.seconds_between_lines:
            self._last_line = time.monotonic()
            done = progress - self._began_at
            left = (self._last_line - self._began) * (1 - progress) / done if done > 0 else float("nan")
            print(f"{progress:4.0%} {text}, {_duration(left)} left", file=sys.stderr, flush=True)

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def mean_gpu_utilization(trainer: L.Trainer) -> float | None:
    """Return the mean utilization of the GPU in percent, or None on a CPU, or where it is not known or not shown."""
    return next((bar.load.mean_utilization() for bar in callbacks_of(trainer, RunProgress)), None)


def _duration(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds > 2 * 3600 else f"{seconds / 60:.0f} min"


def _threads(trainer: L.Trainer) -> str:
    return next((callback.text() for callback in callbacks_of(trainer, ShareCores)), "")


def _loss(trainer: L.Trainer) -> str:
    metrics = trainer.callback_metrics
    parts = []
    for stage in ("train", "val"):
        for name, digits in (("bpd", 3), ("loss", 1)):
            if f"{stage}/{name}" in metrics:
                parts.append(f"{stage} {name} {metrics[f'{stage}/{name}']:.{digits}f}")
                break
    return ", ".join(parts) + _rise(trainer)


def _rise(trainer: L.Trainer) -> str:
    """Return by how much the last validation is worse than the best one, if by more than overfitting explains."""
    if "val/bpd" not in trainer.callback_metrics:
        return ""
    gain = least_validation_loss(trainer) - float(trainer.callback_metrics["val/loss"])
    rise = bits_per_dim(gain, 0.0, cast(FlowModule, trainer.lightning_module).flow.dims)
    return f" ({rise:.1f} above the best: unstable; try a lower optimizer.lr)" if rise > UNSTABLE_RISE else ""
