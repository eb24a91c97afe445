"""Cases for the pretended GPU; ``tests/test_pretended_gpu.py`` runs them in a process of their own.

From the second training step on the CPU must never wait for the device. What comes after training may wait, but no
operation may mix devices anywhere.
"""

import lightning as L
import pytest
import torch

from nf_mnist.app.building import build_datamodule, build_module, build_trainer
from nf_mnist.app.building.trainer import INITIAL_LOSS_SCALE
from nf_mnist.diagnostics import CHECKS, DiagnosisTask, diagnose, make_batch
from nf_mnist.inpainting import budgeted_completions, has_budgeted_method, make_observed, posterior
from nf_mnist.metrics import evaluate_flow
from tests.support.helpers import SMALL, compose_config, merge, tiny_overrides, write_images
from tests.support.pretended_gpu import NAME, MixedDevicesError, pretended_gpu

CASES = {
    **{model: (model, []) for model in SMALL},
    "labels": ("glow", ["model.flow.n_classes=10"]),
    "tarflow_labels": ("tarflow", ["model.flow.n_classes=10", "data.dequantizer=gaussian"]),
    "hierarchical_labels": ("hierarchical", ["model.flow.n_classes=10"]),
    "batchnorm": ("resflow", ["model.norm=batchnorm", "callbacks=recompute_statistics"]),
    "actnorm_recompute": ("resflow", ["model.norm=actnorm", "model.recompute=true"]),
    "gaussianize": ("realnvp", ["model.preprocess=gaussianize", "data.max_shift=1", "data.distortion=0.1"]),
    "ema_clipped": ("resflow", ["callbacks=ema", "trainer.gradient_clip_val=100"]),
    "muon": ("glow", ["optimizer=muon"]),
}
SETTINGS = [
    "trainer.accelerator=pretended",
    "trainer.strategy=pretended",
    "trainer.max_steps=2",
    "trainer.val_check_interval=2",
    "data.batch_size=8",
    "data.n_validation=8",
    "logger.tensorboard=null",
    "run_dir=${output_dir}",
]


class SecondStep(L.Callback):
    """Keeps the waits between the end of the first training step and the end of the second."""

    def __init__(self, gpu):
        self.gpu, self.waits = gpu, []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if batch_idx == 1:
            self.waits = list(self.gpu.waits)
        self.gpu.clear()


def train(gpu, tmp_path, model, overrides):
    images = write_images(tmp_path / "images.npz", n=48, side=28)
    cfg = compose_config(merge(tiny_overrides(images, tmp_path / "run", model), [*overrides, *SETTINGS]))
    data = build_datamodule(cfg)
    data.setup()
    module = build_module(cfg)
    module.flow.bijector.fit(data.train.levels)
    trainer = build_trainer(cfg)
    trainer.callbacks.append(SecondStep(gpu))
    trainer.fit(module, datamodule=data)
    return trainer, module, data


@pytest.mark.parametrize("case", CASES)
def test_the_second_training_step_waits_for_nothing(case, tmp_path):
    with pretended_gpu() as gpu:
        trainer, module, _ = train(gpu, tmp_path, *CASES[case])
        assert "val/loss" in trainer.callback_metrics, "it was validated"
        assert not trainer.callbacks[-1].waits, sorted(set(trainer.callbacks[-1].waits))
        samples = module.flow.eval().to(NAME).sample(2, generator=torch.Generator().manual_seed(0))
        assert samples.device.type == NAME


def test_losses_are_scaled_in_float16(tmp_path):
    settings = ["trainer.precision=16-mixed", "optimizer.fused=false", "callbacks=skip_bad_steps"]
    with pretended_gpu() as gpu:
        trainer, *_ = train(gpu, tmp_path, "glow", settings)
        assert trainer.precision_plugin.scaler.get_scale() == INITIAL_LOSS_SCALE
    assert trainer.callback_metrics["health/skipped_steps"] == 0


@pytest.mark.parametrize("model", ["glow", "conditional"])
def test_what_comes_after_training_keeps_to_the_device(model, tmp_path):
    with pretended_gpu() as gpu:
        _, module, data = train(gpu, tmp_path, model, [])
        flow = module.flow.eval().to(NAME)
        batch = make_batch(flow, module.dequantizer.to(NAME), data.validation, 8, 0)
        observed = make_observed("lower", flow.event_shape, 0).to(NAME)
        generator = torch.Generator().manual_seed(0)
        assert has_budgeted_method(flow)
        found = budgeted_completions(flow, batch.x[:2], observed, 2, 2, generator)
        assert found.x.device.type == NAME
        if flow.bijector.is_continuous:
            posterior(
                flow,
                batch.x[:2],
                observed,
                n_samples=2,
                generator=generator,
                n_chains=1,
                n_warmup=1,
                thinning=1,
                n_leapfrog=1,
                step=0.1,
            )
        results = list(diagnose(DiagnosisTask(flow, batch), [check for check in CHECKS if check.is_cheap]))
        raising = [result for result in results if "MixedDevices" in result.measured or "raises" in result.cause]
        assert not raising


def test_an_evaluation_waits_as_often_for_many_batches_as_for_one(tmp_path):
    with pretended_gpu() as gpu:
        _, module, data = train(gpu, tmp_path, "glow", [])
        flow, n_waits = module.flow.eval().to(NAME), []
        for batch_size in (8, 2):
            gpu.clear()
            evaluate_flow(
                flow, module.dequantizer, data.validation, n_images=8, n_draws=2, batch_size=batch_size, seed=0
            )
            n_waits.append(len(gpu.waits))
    assert n_waits[0] == n_waits[1], sorted({wait.place for wait in gpu.waits})


def test_devices_do_not_mix():
    with pretended_gpu():
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
    with pretended_gpu() as gpu:
        x = torch.ones(3, device=NAME)
        assert not gpu.waits
        wait(x)
        assert {place.partition(":")[0] for _, place in gpu.waits} == {"pretended_gpu_cases.py"}
