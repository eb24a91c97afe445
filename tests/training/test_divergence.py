"""A loss that is NaN stops the run with a named error, or the step is skipped; checkpoints stay whole."""

import json
import os
import subprocess
import sys
from pathlib import Path

import lightning as L
import pytest
import torch
from torch.utils.hooks import RemovableHandle

from nf_mnist.app.building.trainer import INITIAL_LOSS_SCALE
from nf_mnist.errors import DivergenceError
from nf_mnist.training.callbacks import SkipBadSteps
from nf_mnist.training.module import FlowModule
from tests.support.helpers import fit, run_command, tiny_overrides, write_images
from tests.support.registry import FLOWS, events

SPOIL_ALL = f"+callbacks.spoil={{_target_:{__name__}.SpoilAllBatches}}"


@pytest.fixture
def images(tmp_path) -> Path:
    return write_images(tmp_path / "images.npz")


def spoil(module: FlowModule) -> RemovableHandle:
    """Make all data NaN until the handle is removed."""
    return module.dequantizer.register_forward_hook(lambda *call: (call[-1][0] * float("nan"), call[-1][1]))


class SpoilBatch(L.Callback):
    """Makes one batch of data NaN."""

    def __init__(self, step: int):
        self.step = step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step:
            self.hook = spoil(pl_module)
        elif trainer.global_step == self.step + 1:
            self.hook.remove()


@pytest.mark.parametrize("every_n_steps", [pytest.param(1, marks=pytest.mark.slow), 10])
def test_a_batch_with_nan_stops_the_run_and_the_last_good_checkpoint_is_whole(every_n_steps, images, tmp_path):
    settings = ["trainer.max_steps=8", "trainer.val_check_interval=2", "callbacks.last.every_n_train_steps=1"]
    settings += ["evaluation=null", f"callbacks.divergence.every_n_steps={every_n_steps}", "logger.tensorboard=null"]
    spoiler = f"+callbacks.spoil={{_target_:{__name__}.SpoilBatch,step:5}}"
    ended = run_command("train", *tiny_overrides(images, tmp_path / "run"), *settings, spoiler)
    assert ended.code == 1
    assert "the loss was not finite at step 6" in ended.err
    last = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["global_step"] == 5
    assert all(value.isfinite().all() for value in last["state_dict"].values() if value.is_floating_point())
    again = run_command("train", *tiny_overrides(images, tmp_path / "run"), *settings, "ckpt=auto")
    assert again.code == 0, "and from there the run goes on"


@pytest.mark.parametrize("norm", ["batchnorm", "actnorm"])
def test_a_step_with_nan_is_skipped_if_so_configured(norm, images, tmp_path):
    common = ["trainer.max_steps=6", f"model.norm={norm}", "evaluation=null", "logger.tensorboard=null"]
    common += ["callbacks=skip_bad_steps", "trainer.val_check_interval=3", "callbacks.last.every_n_train_steps=1"]
    weights, spoiler = Weights(), SpoilBatch(step=3)
    run = fit([*tiny_overrides(images, tmp_path / "run"), *common], [spoiler, weights])
    before, spoilt, after = weights.seen[2:5]
    assert all(torch.equal(before[key], spoilt[key]) for key in before), "with the statistics of BatchNorm"
    assert not all(torch.equal(before[key], after[key]) for key in before)
    assert all(value.isfinite().all() for value in after.values())
    [skip] = [callback for callback in run.trainer.callbacks if isinstance(callback, SkipBadSteps)]
    assert (skip.n_skipped, run.trainer.global_step) == (1, 6)
    assert float(run.trainer.logged_metrics["health/skipped_steps"]) == 1


@pytest.mark.parametrize(("scale", "is_finite"), [(INITIAL_LOSS_SCALE, True), (2.0**16, False)])
def test_no_gradient_overflows_at_the_beginning_of_a_training_in_float16(scale, is_finite):
    torch.manual_seed(0)
    flow = FLOWS["glow"]()
    x = events(flow.event_shape, n=32, dtype=torch.float32)
    with torch.autocast("cpu", torch.float16):
        loss = -flow.log_prob(x).mean()
    (scale * loss).backward()
    gradients = [value.grad for value in flow.parameters() if value.grad is not None]
    assert bool(torch.nn.utils.get_total_norm(gradients).isfinite()) == is_finite


def test_too_many_steps_with_nan_in_a_row_stop_the_run(images, tmp_path):
    common = ["trainer.max_steps=6", "evaluation=null", "logger.tensorboard=null", "callbacks=skip_bad_steps"]
    common += ["callbacks.skip.max_consecutive=1", SPOIL_ALL]
    ended = run_command("train", *tiny_overrides(images, tmp_path / "run"), *common)
    assert ended.code == 1
    assert "gradients were not finite in 2 steps in a row, up to step 2" in ended.err


def test_a_resumed_run_remembers_how_many_consecutive_steps_it_skipped(images, tmp_path):
    common = [
        "evaluation=null",
        "logger.tensorboard=null",
        "callbacks=skip_bad_steps",
        "callbacks.skip.max_consecutive=3",
    ]
    common += ["callbacks.last.every_n_train_steps=1", SPOIL_ALL]
    fit([*tiny_overrides(images, tmp_path / "run"), *common, "trainer.max_steps=2"])
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    further = [*tiny_overrides(images, tmp_path / "run"), *common, "trainer.max_steps=9"]
    ended = fit(further, ckpt=last, expect=DivergenceError)
    assert ended.trainer.global_step == 3, "three steps are skipped, and the fourth ends the run"


class SpoilOneProcess(L.Callback):
    """Makes the loss of the second of two processes NaN at the fourth step, without a trace in the gradients."""

    def setup(self, trainer, pl_module, stage):
        trainer.callbacks.sort(key=lambda callback: callback is not self)  # before the one that looks at the loss

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_rank == 1 and trainer.global_step == 4:
            outputs["loss"].fill_(float("nan"))


@pytest.mark.slow
def test_a_loss_that_diverges_in_one_process_ends_all_as_diverged(images, tmp_path):
    settings = ["trainer.max_steps=8", "trainer.devices=2", "trainer.strategy=ddp", "logger.tensorboard=null"]
    settings += ["callbacks.divergence.every_n_steps=4", "evaluation=null"]
    spoiler = f"+callbacks.spoil={{_target_:{__name__}.SpoilOneProcess}}"
    command = [sys.executable, "-m", "nf_mnist.train", *tiny_overrides(images, tmp_path / "run"), *settings, spoiler]
    paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1), ended.stderr
    assert "the loss was not finite at step 4" in ended.stderr
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "diverged"


class Weights(L.Callback):
    """Records all tensors of the module after each step."""

    def __init__(self):
        self.seen = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.seen.append({key: value.clone() for key, value in pl_module.state_dict().items()})


class SpoilAllBatches(L.Callback):
    """Makes every batch of data NaN."""

    def on_train_start(self, trainer, pl_module):
        spoil(pl_module)


def test_a_validation_loss_that_is_never_finite_is_a_named_error(images, tmp_path):
    settings = ["trainer.max_steps=2", "trainer.val_check_interval=1", "logger.tensorboard=null"]
    spoiler = f"+callbacks.spoil={{_target_:{__name__}.SpoilValidation}}"
    ended = run_command("train", *tiny_overrides(images, tmp_path / "run"), *settings, spoiler)
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert "the validation loss was never finite" in ended.err


class SpoilValidation(L.Callback):
    """Makes the data of each validation NaN."""

    def on_validation_start(self, trainer, pl_module):
        self.hook = spoil(pl_module)

    def on_validation_end(self, trainer, pl_module):
        self.hook.remove()
