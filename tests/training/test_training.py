"""The learning rate, the precision, and the training step."""

import math
from types import SimpleNamespace

import lightning as L
import pytest
import torch
from torch import nn

from nf_mnist import bfloat16
from nf_mnist.app.building import build_datamodule, build_module, build_trainer
from nf_mnist.data import draw_noise
from nf_mnist.errors import ConfigError, MachineError
from nf_mnist.hardware import describe, resolve_device, resolve_precision
from nf_mnist.metrics import evaluate_flow
from nf_mnist.training.schedule import Schedule
from tests.support.helpers import Recorder, compose_config, first_difference, fit, merge


def test_the_schedule_rises_linearly_and_falls_as_a_cosine():
    schedule = Schedule(warmup=0.2, final=0.1)
    assert schedule.factor(0) == 0
    assert schedule.factor(0.1) == pytest.approx(0.5)
    assert schedule.factor(0.2) == pytest.approx(1)
    assert schedule.factor(0.6) == pytest.approx((1 + 0.1) / 2)
    assert schedule.factor(1) == pytest.approx(0.1)
    assert {Schedule(0.0, 1.0).factor(progress / 10) for progress in range(11)} == {1.0}


@pytest.mark.parametrize(("warmup", "final"), [(1, 0), (-0.1, 0), (0, 2), (0, -1)])
def test_the_schedule_refuses_shares_out_of_range(warmup, final):
    with pytest.raises(ConfigError, match="schedule"):
        Schedule(warmup, final)


def test_the_rate_follows_the_schedule_over_a_budget_of_steps(overrides):
    recorder = Recorder()
    fit([*overrides, "trainer.max_steps=8", "scheduler.warmup=0.25", "optimizer.lr=0.01"], [recorder])
    assert recorder.rates == pytest.approx([0.01 * Schedule(0.25, 0.0).factor(step / 8) for step in range(8)])


class GradientNorms(L.Callback):
    """Records the norm of each step's gradient before and after it is clipped."""

    def __init__(self):
        self.before, self.after = [], []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.before.append(self.norm(pl_module))

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.after.append(self.norm(pl_module))

    @staticmethod
    def norm(module):
        return float(torch.cat([parameter.grad.flatten() for parameter in module.parameters()]).norm())


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_gradients_are_clipped_for_a_fused_optimizer_too(precision, overrides):
    norms = GradientNorms()
    settings = [f"trainer.precision={precision}", "trainer.gradient_clip_val=0.5", "trainer.max_steps=3"]
    run = fit([*overrides, *settings], [norms])
    assert run.trainer.optimizers[0].defaults["fused"]
    assert min(norms.before) > 0.5
    assert norms.after == pytest.approx([0.5] * 3, rel=1e-3)


class Clock(L.Callback):
    """Stands in for the clock of Lightning's timer; each step takes a fixed number of seconds."""

    def __init__(self, seconds: float):
        self.now, self.seconds = 100.0, seconds

    def monotonic(self) -> float:
        return self.now

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.now += self.seconds


def test_the_rate_follows_the_schedule_over_a_budget_of_time(overrides, monkeypatch):
    recorder, clock = Recorder(), Clock(seconds=0.5)
    monkeypatch.setattr("lightning.pytorch.callbacks.timer.time", SimpleNamespace(monotonic=clock.monotonic))
    settings = ["trainer.max_time=00:00:00:04", "scheduler.warmup=0.25", "scheduler.final=0.1", "optimizer.lr=0.01"]
    fit([*overrides, *settings], [recorder, clock])
    assert recorder.rates == pytest.approx([0.01 * Schedule(0.25, 0.1).factor(step / 8) for step in range(8)])


def test_the_loss_falls(overrides):
    recorder = Recorder()
    fit([*overrides, "trainer.max_steps=40", "model.norm=actnorm"], [recorder])
    assert sum(recorder.losses[-5:]) < 0.9 * sum(recorder.losses[:5])


def test_the_loss_of_a_step_is_the_mean_negative_log_likelihood_in_nats(overrides, monkeypatch):
    cfg = compose_config(merge(overrides, ["run_dir=${output_dir}"]))
    module, data = build_module(cfg).eval(), build_datamodule(cfg)
    data.setup()
    logged = {}
    monkeypatch.setattr(module, "log", lambda name, value, **settings: logged.update({name: value.item()}))
    levels, labels = next(iter(data.train_dataloader()))
    torch.manual_seed(3)
    loss = module.training_step((levels, labels), 0)
    torch.manual_seed(3)
    x, log_q = module.dequantizer(levels, draw_noise(levels))
    expected = (log_q - module.flow.log_prob(x)).mean().item()
    assert loss.item() == pytest.approx(expected)
    assert logged == pytest.approx({"train/loss": expected, "train/bpd": expected / (196 * math.log(2))})


def test_validation_scores_are_those_of_the_evaluation(overrides):
    trained = fit([*overrides, "trainer.max_steps=2", "trainer.val_check_interval=2"])
    sizes = {"n_images": None, "n_draws": 1, "batch_size": 8, "seed": 0}
    assert len(trained.data.validation.levels) % sizes["batch_size"], "the last batch is smaller than the others"
    module, logged = trained.module.eval(), trained.trainer.callback_metrics
    metrics, *_ = evaluate_flow(module.flow, module.dequantizer, trained.data.validation, **sizes)
    assert logged["val/loss"].item() == pytest.approx(-metrics["log_likelihood"], rel=1e-5)
    assert logged["val/bpd"].item() == pytest.approx(metrics["bpd"], rel=1e-5)


@pytest.mark.parametrize("option", ["data.dequantizer=cp3", "data.dequantizer=none", "data.count_log_det=false"])
def test_nothing_is_called_bpd_where_bits_per_dimension_do_not_exist(overrides, option):
    trained = fit([*overrides, "trainer.max_steps=2", option])
    assert "train/loss" in trained.trainer.callback_metrics
    assert not [name for name in trained.trainer.callback_metrics if "bpd" in name]


def test_one_gradient_step_moves_every_parameter_with_a_gradient(overrides):
    cfg = compose_config(merge([*overrides, "trainer.max_steps=1", "scheduler=constant"], ["run_dir=${output_dir}"]))
    before = build_module(cfg).state_dict()
    after = fit([*overrides, "trainer.max_steps=1", "scheduler=constant"]).module
    for name, parameter in after.named_parameters():
        assert not torch.equal(parameter, before[name]), name


def test_two_runs_of_one_seed_are_bit_identical_and_of_two_seeds_are_not(overrides):
    one, same, other = (
        fit([*overrides, "trainer.max_steps=3", f"seed={seed}"]).module.state_dict() for seed in (0, 0, 1)
    )
    assert first_difference(one, same) == ""
    assert first_difference(one, other) != ""


@pytest.mark.parametrize("precision", ["bf16-mixed", "32-true", "64-true"])
def test_log_dets_keep_the_dtype_of_the_data_in_every_precision(precision, overrides):
    seen = set()

    def look(module, inputs, outputs):
        seen.update(part.dtype for part in outputs)

    cfg = compose_config(
        merge([*overrides, f"trainer.precision={precision}", "trainer.max_steps=2"], ["run_dir=${output_dir}"])
    )
    module, data = build_module(cfg), build_datamodule(cfg)
    for bijector in module.flow.bijector.layers():
        bijector.register_forward_hook(look)
    build_trainer(cfg).fit(module, datamodule=data)
    assert seen == {torch.float64 if precision == "64-true" else torch.float32}


def test_bf16_networks_compute_nearly_the_same_likelihood(overrides):
    losses = []
    for precision in ("32-true", "bf16-mixed"):
        recorder = Recorder()
        fit([*overrides, f"trainer.precision={precision}", "trainer.max_steps=1"], [recorder])
        losses += recorder.losses
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.02)


def test_networks_train_in_bfloat16_and_are_validated_in_float32(overrides):
    cfg = compose_config(
        merge(
            [*overrides, "trainer.precision=bf16-mixed", "trainer.max_steps=1", "trainer.val_check_interval=1"],
            ["run_dir=${output_dir}"],
        )
    )
    module, data, trainer = build_module(cfg), build_datamodule(cfg), build_trainer(cfg)
    seen = set()
    layers = [part for part in module.flow.modules() if isinstance(part, nn.Linear | nn.Conv2d)]
    for layer in layers:
        layer.register_forward_hook(lambda layer, inputs, output: seen.add((trainer.validating, output.dtype)))
    trainer.fit(module, datamodule=data)
    assert seen == {(False, torch.bfloat16), (True, torch.float32)}


def test_precision_is_detected_and_not_assumed(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for amx, avx512, is_faster, expected in (
        (True, True, None, "bf16-mixed"),
        (False, True, True, "bf16-mixed"),
        (False, True, False, "32-true"),
        (False, False, None, "32-true"),
    ):
        monkeypatch.setattr(bfloat16, "products_are_faster", lambda is_faster=is_faster: is_faster)
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda amx=amx: amx)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda avx512=avx512: avx512)
        assert resolve_precision("auto", "cpu") == expected
        assert ("AMX" in describe(), "AVX512_BF16" in describe()) == (amx, avx512 and not amx)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for capability, expected in (((9, 0), "bf16-mixed"), ((7, 5), "32-true")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, capability=capability: capability)
        assert resolve_precision("auto", "gpu") == expected
    assert resolve_precision("64-true", "cpu") == "64-true"
    with pytest.raises(ConfigError, match="unknown precision"):
        resolve_precision("half", "cpu")


def test_an_accelerator_without_float64_is_never_taken(monkeypatch, overrides):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(L.pytorch.accelerators.MPSAccelerator, "is_available", staticmethod(lambda: True))
    cfg = compose_config(merge([*overrides, "trainer.accelerator=auto"], ["run_dir=${output_dir}"]))
    assert isinstance(build_trainer(cfg).accelerator, L.pytorch.accelerators.CPUAccelerator)
    cfg.trainer.accelerator = "mps"
    with pytest.raises(MachineError, match="float64"):
        build_trainer(cfg)


def test_a_device_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto").type == "cpu"
    with pytest.raises(MachineError, match="0 GPUs"):
        resolve_device("cuda")
    with pytest.raises(ConfigError, match="unknown device 'nosuch'"):
        resolve_device("nosuch")
