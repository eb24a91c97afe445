"""The cases of the simulated GPU on a real one; ``python -m benchmarks.gpu`` runs them, and no other test does.

From the second training step on the CPU must never wait for the card: torch warns wherever it does. In a rehearsal the
variable ``NF_MNIST_CASES_DEVICE`` is ``cpu``.
"""

import os
import warnings

import lightning as L
import pytest
import torch

from tests.support.device_cases import CASES, check_what_comes_after_training, train_two_steps

DEVICE = os.environ.get("NF_MNIST_CASES_DEVICE", "cuda")
SETTINGS = [f"trainer.accelerator={DEVICE}", "trainer.precision=auto"]


class SecondStep(L.Callback):
    """Keeps torch's warnings of waits between the end of the first training step and the end of the second."""

    def __init__(self):
        self.waits = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if DEVICE == "cpu":
            return
        if batch_idx == 0:
            self._caught = warnings.catch_warnings(record=True)
            self._warnings = self._caught.__enter__()
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
        else:
            torch.cuda.set_sync_debug_mode("default")
            self._caught.__exit__(None, None, None)
            found = [warning for warning in self._warnings if "synchroniz" in str(warning.message)]
            self.waits = [f"{warning.filename}:{warning.lineno}" for warning in found]


@pytest.mark.parametrize("case", CASES)
def test_the_second_training_step_waits_for_nothing(case, tmp_path):
    model, overrides = CASES[case]
    trainer, module, _ = train_two_steps(tmp_path, model, [*overrides, *SETTINGS], SecondStep())
    assert "val/loss" in trainer.callback_metrics, "it was validated"
    assert not trainer.callbacks[-1].waits, sorted(set(trainer.callbacks[-1].waits))
    samples = module.flow.eval().to(DEVICE).sample(2, generator=torch.Generator().manual_seed(0))
    assert samples.device.type == DEVICE
    assert samples.isfinite().all()


@pytest.mark.parametrize("model", ["glow", "conditional"])
def test_what_comes_after_training_keeps_to_the_device(model, tmp_path):
    _, module, data = train_two_steps(tmp_path, model, SETTINGS, SecondStep())
    check_what_comes_after_training(module, data, DEVICE)
