"""The health of a flow at each validation: the laws that cost little."""

from collections.abc import Sequence
from typing import Any, cast

import lightning as L
import torch

from nf_mnist.diagnostics import CHECKS, DiagnosisTask, Result, diagnose, make_batch
from nf_mnist.training.callbacks.base import check_counts, flow_module, tensorboard_writers


class LogHealth(L.Callback):
    """The size of each cheap law as a scalar, how many are broken, and a table with cause and cure of those.

    Scalars are ``health/NAME`` (in the unit of the law, the larger the worse), ``health/warnings`` and
    ``health/failures``; the table is the text ``health/verdicts``. ``python -m nf_mnist.diagnose`` asks all laws.

    Args:
        n_images: Validation images to look at.
        seed: Of their choice; the same at each validation.
    """

    def __init__(self, n_images: int, seed: int = 0) -> None:
        check_counts(n_images=n_images)
        self.n_images, self.seed = n_images, seed

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        writers = list(tensorboard_writers(trainer))
        if not writers:
            return
        module, images = flow_module(pl_module), cast(Any, trainer).datamodule.validation
        # Validation runs in inference mode, whose tensors some laws cannot use.
        with torch.inference_mode(False), torch.no_grad(), torch.autocast(module.device.type, enabled=False):
            batch = make_batch(module.flow, module.dequantizer, images, self.n_images, self.seed)
            subject = DiagnosisTask(module.flow, batch, is_discrete=module.dequantizer.is_discrete, seed=self.seed)
            verdicts = list(diagnose(subject, [law for law in CHECKS.values() if law.is_cheap]))
        for writer in writers:
            for verdict in verdicts:
                if verdict.size is not None:
                    writer.add_scalar(f"health/{verdict.law.replace(' ', '_')}", verdict.size, trainer.global_step)
            for name, status in (("warnings", "warn"), ("failures", "fail")):
                count = sum(verdict.status == status for verdict in verdicts)
                writer.add_scalar(f"health/{name}", count, trainer.global_step)
            writer.add_text("health/verdicts", _markdown(verdicts), trainer.global_step)


def _markdown(verdicts: Sequence[Result]) -> str:
    lines = ["| law | verdict | figure | expected | likely cause | try |", "| --- | --- | --- | --- | --- | --- |"]
    for verdict in verdicts:
        cells = (verdict.law, verdict.status, verdict.figure, verdict.expected, verdict.cause, verdict.cure)
        lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    return "\n".join(lines)
