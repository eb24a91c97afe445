"""What runs on a simulated GPU and on a real one: trainings of two steps, and what comes after a training."""

import lightning as L
import torch

from nf_mnist.app.building import build_datamodule, build_module, build_trainer
from nf_mnist.diagnostics import CHECKS, DiagnosisTask, diagnose, make_batch
from nf_mnist.inpainting import budgeted_completions, has_budgeted_method, make_observed, posterior
from tests.support.helpers import SMALL, Fit, compose_config, merge, tiny_overrides, write_images

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
    "trainer.max_steps=2",
    "trainer.val_check_interval=2",
    "data.batch_size=8",
    "data.n_validation=8",
    "logger.tensorboard=null",
    "run_dir=${output_dir}",
]


def train_two_steps(tmp_path, model, overrides, callback: L.Callback) -> Fit:
    """Train for two steps and validate; ``callback`` comes after all others."""
    images = write_images(tmp_path / "images.npz", n=48, side=28)
    cfg = compose_config(merge(tiny_overrides(images, tmp_path / "run", model), [*SETTINGS, *overrides]))
    data = build_datamodule(cfg)
    data.setup()
    module = build_module(cfg)
    module.flow.bijector.fit(data.train.levels)
    trainer = build_trainer(cfg)
    trainer.callbacks.append(callback)
    trainer.fit(module, datamodule=data)
    return Fit(trainer, module, data)


def check_what_comes_after_training(module, data, device: str) -> None:
    """Complete images of a flow on a device by all kinds of methods, and diagnose the flow."""
    flow = module.flow.eval().to(device)
    batch = make_batch(flow, module.dequantizer.to(device), data.validation, 8, 0)
    observed = make_observed("lower", flow.event_shape, 0).to(device)
    generator = torch.Generator().manual_seed(0)
    assert has_budgeted_method(flow)
    found = budgeted_completions(flow, batch.x[:2], observed, 2, 2, generator)
    assert found.x.device.type == device
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
    assert not [result for result in results if "MixedDevices" in result.measured or "raises" in result.cause]
