"""The health of a flow during training: the cheap checks at each validation."""

from collections.abc import Sequence
from typing import Any, cast

import lightning as L
import torch

from nf_mnist.data import Images
from nf_mnist.diagnostics import CHECKS, DiagnosisTask, Result, diagnose, make_batch
from nf_mnist.errors import check_range
from nf_mnist.training.callbacks.base import flow_module, tensorboard_writers
from nf_mnist.training.module import FlowModule


class LogHealth(L.Callback):
    """Runs the cheap checks at each validation and writes their results to TensorBoard.

    The scalars are ``health/NAME_OF_THE_CHECK`` (the measured size in the unit of the check; the larger, the worse),
    ``health/warnings`` and ``health/failures`` (numbers of checks). The text ``health/results`` is a table with cause
    and remedy of each violation. ``python -m nf_mnist.diagnose`` runs all checks.

    Args:
        n_images: Number of validation images to look at.
        seed: Seed for the choice of the images, which is the same at each validation.

    Raises:
        ConfigError: If there is no image to look at.
    """

    def __init__(self, n_images: int, seed: int = 0) -> None:
        check_range(1, n_images=n_images)
        self.n_images, self.seed = n_images, seed

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        writers = list(tensorboard_writers(trainer))
        if not writers:
            return
        results = self._diagnose(flow_module(pl_module), cast(Any, trainer).datamodule.validation)
        for writer in writers:
            for name, value in _scalars(results).items():
                writer.add_scalar(f"health/{name}", value, trainer.global_step)
            writer.add_text("health/results", _markdown(results), trainer.global_step)

    def _diagnose(self, module: FlowModule, images: Images) -> list[Result]:
        # Validation runs in inference mode, whose tensors some checks cannot use.
        with torch.inference_mode(False), torch.no_grad(), torch.autocast(module.device.type, enabled=False):
            batch = make_batch(module.flow, module.dequantizer, images, self.n_images, self.seed)
            task = DiagnosisTask(
                module.flow,
                batch,
                is_discrete=module.dequantizer.is_discrete,
                seed=self.seed,
                is_in_unit_interval=module.dequantizer.is_in_unit_interval,
            )
            return list(diagnose(task, [check for check in CHECKS if check.is_cheap]))


def _scalars(results: Sequence[Result]) -> dict[str, float]:
    """Return the size of each measured check, and the number of warnings and failures."""
    sizes = {result.check.replace(" ", "_"): result.size for result in results if result.size is not None}
    statuses = [result.status for result in results]
    return {**sizes, "warnings": statuses.count("warn"), "failures": statuses.count("fail")}


def _markdown(results: Sequence[Result]) -> str:
    """Return the results as a Markdown table."""
    lines = ["| check | result | measured | expected | likely cause | try |", "| --- | --- | --- | --- | --- | --- |"]
    for result in results:
        remedy = f"{result.remedy}{': ' if result.overrides else ''}{' '.join(result.overrides)}"
        cells = (result.check, result.status, result.measured, result.expected, result.cause, remedy)
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return "\n".join(lines)
