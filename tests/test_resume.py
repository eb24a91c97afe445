"""A run that was killed and resumed ends as one that never stopped."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from _helpers import NOISE, first_difference, fit, tiny_overrides, write_images


def state(path: Path) -> dict:
    checkpoint = torch.load(path, weights_only=True)
    return {key: checkpoint[key] for key in ("state_dict", "optimizer_states", "global_step", "epoch")}


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["model.norm=batchnorm"],
        ["model.norm=actnorm", "trainer.gradient_clip_val=10", "trainer.accumulate_grad_batches=2"],
        ["callbacks=ema"],
        [f"model.noise={NOISE}"],
    ],
    ids=["plain", "batchnorm", "actnorm", "ema", "learned_noise"],
)
@pytest.mark.parametrize("step", [3, 4], ids=["in_mid_epoch", "at_the_end_of_an_epoch"])
def test_a_resumed_run_equals_an_uninterrupted_one(options, step, tmp_path):
    images = write_images(tmp_path / "images.npz")  # 70 training images, 4 batches an epoch
    settings = [*options, "trainer.max_steps=9", "trainer.val_check_interval=2", "callbacks.last.every_n_train_steps=1"]
    settings += ["logger.tensorboard=null", "callbacks.last.save_top_k=-1"]

    def train(name: str, ckpt: Path | None = None) -> Path:
        fit([*tiny_overrides(images, tmp_path / name), *settings], ckpt=ckpt)
        return tmp_path / name / "checkpoints"

    whole = train("whole")
    resumed = train("resumed", ckpt=whole / f"step_{step}.ckpt")
    assert first_difference(state(resumed / "step_9.ckpt"), state(whole / "step_9.ckpt")) == ""


def train_in_a_process(*overrides: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "nf_mnist.train", *overrides],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


@pytest.mark.slow
def test_a_run_killed_in_mid_epoch_and_resumed_ends_with_identical_weights(tmp_path):
    images = write_images(tmp_path / "images.npz", n=400)

    def settings(name: str) -> list[str]:
        given = ["trainer.max_steps=60", "callbacks.last.every_n_train_steps=7", "trainer.val_check_interval=10"]
        return [*tiny_overrides(images, tmp_path / name), *given, "evaluation=null", "logger.tensorboard=null"]

    assert train_in_a_process(*settings("whole")).wait(300) == 0

    last = tmp_path / "killed" / "checkpoints" / "last.ckpt"
    process = train_in_a_process(*settings("killed"))
    deadline = time.monotonic() + 300
    while not last.exists():
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL
    steps = torch.load(last, weights_only=True)["global_step"]
    assert 0 < steps < 60
    assert steps % (290 // 16), "in the middle of an epoch"

    assert train_in_a_process(*settings("killed"), f"ckpt={last}").wait(300) == 0
    whole = torch.load(tmp_path / "whole" / "checkpoints" / "last.ckpt", weights_only=True)
    resumed = torch.load(last, weights_only=True)
    assert resumed["global_step"] == 60
    assert first_difference(resumed["state_dict"], whole["state_dict"]) == ""
    assert first_difference(resumed["optimizer_states"], whole["optimizer_states"]) == ""
