"""Cases for the simulated GPU; ``tests/test_simulated_gpu.py`` runs them in a process of their own.

From the second training step on the CPU must never wait for the device. What comes after training may wait, but no
operation may mix devices anywhere.
"""

import lightning as L
import pytest
import torch

from nf_mnist.app.building.trainer import INITIAL_LOSS_SCALE
from nf_mnist.metrics import evaluate_flow, sample_quality
from nf_mnist.metrics.neighbours import precision_recall
from nf_mnist.metrics.sample_quality import ReferenceImages
from nf_mnist.nets import Classifier
from tests.support.device_cases import CASES, check_what_comes_after_training, train_two_steps
from tests.support.simulated_gpu import NAME, MixedDevicesError, simulated_gpu

# The solver of ffjord chooses each step by the error of the last one, which the CPU has to know.
MAY_WAIT = {"ffjord": "ode.py"}
SETTINGS = ["trainer.accelerator=simulated", "trainer.strategy=simulated"]


class SecondStep(L.Callback):
    """Keeps the waits between the end of the first training step and the end of the second."""

    def __init__(self, gpu):
        self.gpu, self.waits = gpu, []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if batch_idx == 1:
            self.waits = list(self.gpu.waits)
        self.gpu.clear()


def train(gpu, tmp_path, model, overrides):
    return train_two_steps(tmp_path, model, [*overrides, *SETTINGS], SecondStep(gpu))


@pytest.mark.parametrize("case", CASES)
def test_the_second_training_step_waits_for_nothing(case, tmp_path):
    with simulated_gpu() as gpu:
        trainer, module, _ = train(gpu, tmp_path, *CASES[case])
        assert "val/loss" in trainer.callback_metrics, "it was validated"
        allowed = MAY_WAIT.get(case, "no file")
        waits = sorted({wait for wait in trainer.callbacks[-1].waits if not wait.place.startswith(allowed)})
        assert not waits
        samples = module.flow.eval().to(NAME).sample(2, generator=torch.Generator().manual_seed(0))
        assert samples.device.type == NAME


def test_losses_are_scaled_in_float16(tmp_path):
    settings = ["trainer.precision=16-mixed", "optimizer.fused=false", "callbacks=skip_bad_steps"]
    with simulated_gpu() as gpu:
        trainer, *_ = train(gpu, tmp_path, "glow", settings)
        assert trainer.precision_plugin.scaler.get_scale() == INITIAL_LOSS_SCALE
    assert trainer.callback_metrics["health/skipped_steps"] == 0


@pytest.mark.parametrize("model", ["glow", "conditional"])
def test_what_comes_after_training_keeps_to_the_device(model, tmp_path):
    with simulated_gpu() as gpu:
        _, module, data = train(gpu, tmp_path, model, [])
        check_what_comes_after_training(module, data, NAME)


def test_an_evaluation_waits_as_often_for_many_batches_as_for_one(tmp_path):
    with simulated_gpu() as gpu:
        _, module, data = train(gpu, tmp_path, "glow", [])
        flow, n_waits = module.flow.eval().to(NAME), []
        for batch_size in (8, 2):
            gpu.clear()
            evaluate_flow(
                flow, module.dequantizer, data.validation, n_images=8, n_draws=2, batch_size=batch_size, seed=0
            )
            n_waits.append(len(gpu.waits))
    assert n_waits[0] == n_waits[1], sorted({wait.place for wait in gpu.waits})


def test_samples_are_compared_with_images_on_the_device(monkeypatch):
    devices = []

    def spy(*sets):
        devices.extend(features.device.type for features in sets)
        return precision_recall(*sets)

    monkeypatch.setattr(sample_quality, "precision_recall", spy)
    levels = torch.randint(0, 256, (12, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with simulated_gpu():
        reference = ReferenceImages(Classifier(1).eval().to(NAME), levels, levels)
        found = reference.measure(levels)
    assert (found.precision, found.recall, devices) == (1, 1, [NAME, NAME])


def test_devices_do_not_mix():
    with simulated_gpu():
        here, there = torch.ones(2), torch.ones(2, device=NAME)
        with pytest.raises(MixedDevicesError):
            here + there
        with pytest.raises(MixedDevicesError):
            torch.rand(2, device=NAME, generator=torch.Generator())
        assert (there * torch.tensor(2.0)).cpu().tolist() == [2, 2], "a single number may come from the CPU"


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.sum().item(),
        lambda x: x.cpu(),
        lambda x: x.tolist(),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: x.unique(),
        lambda x: torch.equal(x, x),
        lambda x: x.new_tensor(1.0),
        lambda x: torch.tensor(1.0, device=NAME),
        lambda x: torch.ones(3).to(NAME),
        lambda x: x.copy_(torch.ones(3)),
        lambda x: float(x[0]),
        lambda x: bool(x.all()),
    ],
)
def test_waits_are_recorded_with_their_place(wait):
    with simulated_gpu() as gpu:
        x = torch.ones(3, device=NAME)
        assert not gpu.waits
        wait(x)
        assert {place.partition(":")[0] for _, place in gpu.waits} == {"simulated_gpu_cases.py"}
