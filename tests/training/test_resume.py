"""A run that is stopped or killed and then resumed ends like one that never stopped."""

import csv
import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import lightning as L
import pytest
import torch

from nf_mnist.errors import MachineError
from nf_mnist.runs.lock import lock_folder
from tests.support.helpers import (
    NOISE,
    first_difference,
    fit,
    merge,
    run_command,
    step_of,
    tiny_overrides,
    write_images,
)
from tests.support.processes import end, start_training, wait_until

SLOW = pytest.mark.slow

OPTIONS = [
    pytest.param([], id="plain"),
    pytest.param(["model.norm=batchnorm"], id="batchnorm"),
    pytest.param(
        ["model.norm=actnorm", "trainer.gradient_clip_val=10", "trainer.accumulate_grad_batches=2"],
        id="actnorm",
        marks=SLOW,
    ),
    pytest.param(["callbacks=ema"], id="ema"),
    pytest.param([f"model.noise={NOISE}"], id="learned_noise", marks=SLOW),
]


@pytest.fixture
def images(tmp_path) -> Path:
    return write_images(tmp_path / "images.npz")  # 70 training images, 4 batches an epoch


def state(path: Path) -> dict:
    checkpoint = torch.load(path, weights_only=True)
    counts = [name for name in checkpoint["state_dict"] if name.endswith("num_batches_tracked")]  # nothing reads them
    for name in counts:
        del checkpoint["state_dict"][name]
    return {key: checkpoint[key] for key in ("state_dict", "optimizer_states", "global_step", "epoch")}


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize(
    "step",
    [pytest.param(3, id="in_mid_epoch"), pytest.param(4, id="at_the_end_of_an_epoch", marks=SLOW)],
)
def test_a_resumed_run_equals_an_uninterrupted_one(options, step, images, tmp_path):
    settings = [*options, "trainer.max_steps=9", "trainer.val_check_interval=2", "callbacks.last.every_n_train_steps=1"]
    settings += ["logger.tensorboard=null", "callbacks.last.save_top_k=-1"]

    def train(name: str, ckpt: Path | None = None) -> Path:
        fit([*tiny_overrides(images, tmp_path / name), *settings], ckpt=ckpt)
        return tmp_path / name / "checkpoints"

    whole = train("whole")
    resumed = train("resumed", ckpt=whole / f"step_{step}.ckpt")
    assert first_difference(state(resumed / "step_9.ckpt"), state(whole / "step_9.ckpt")) == ""


def test_the_time_of_training_is_that_of_all_resumes(images, tmp_path):
    settings = [*tiny_overrides(images, tmp_path), "logger.tensorboard=null"]
    last, hour = tmp_path / "checkpoints" / "last.ckpt", 3600.0
    assert run_command("train", *settings, "trainer.max_steps=2").code == 0
    checkpoint = torch.load(last, weights_only=True)
    checkpoint["callbacks"]["Timer"]["time_elapsed"]["train"] += hour
    torch.save(checkpoint, last)
    resumed = run_command("train", *settings, "trainer.max_steps=4", "ckpt=auto")
    assert resumed.code == 0, resumed.err
    assert json.loads((tmp_path / "metrics.json").read_text())["training_seconds"] > hour


class KilledError(Exception):
    """Stands for the death of a process at one moment of a training."""


class Killer(L.Callback):
    """Ends a training in the middle of a step, at the beginning of a validation, or after one batch of a validation."""

    def __init__(self, moment: str, step: int):
        self.moment, self.step = moment, step

    def _kill(self, moment: str, trainer: L.Trainer) -> None:
        if moment == self.moment and trainer.global_step == self.step and not trainer.state.fn == "validate":
            raise KilledError

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self._kill("step", trainer)

    def on_validation_epoch_start(self, trainer, pl_module):
        self._kill("validation_begins", trainer)

    def on_validation_batch_end(self, trainer, pl_module, outputs, batch, batch_idx, dataloader_idx=0):
        self._kill("validation", trainer)


@pytest.mark.parametrize(
    ("moment", "step", "options"),
    [
        ("validation", 6, []),
        *[
            pytest.param(moment, step, options, marks=pytest.mark.slow)
            for options in ([], ["callbacks=ema"], ["callbacks=recompute_statistics"])
            for moment, step in (("step", 5), ("step", 6), ("validation_begins", 6), ("validation", 8))
        ],
    ],
)
def test_wherever_a_run_dies_the_last_checkpoint_leads_to_the_same_end(options, moment, step, images, tmp_path):
    """Validations follow steps 2, 4, 6 and 8; epochs end with steps 4 and 8."""
    settings = [*options, "trainer.max_steps=9", "trainer.val_check_interval=2", "callbacks.last.every_n_train_steps=3"]
    settings += ["logger.tensorboard=null", "evaluation=null", "data.eval_batch_size=4"]
    base = tiny_overrides(images, tmp_path / "whole")
    assert run_command("train", *base, *settings).code == 0
    fit([*tiny_overrides(images, tmp_path / "killed"), *settings], [Killer(moment, step)], expect=KilledError)
    resumed = run_command("train", *tiny_overrides(images, tmp_path / "killed"), *settings, "ckpt=auto")
    assert resumed.code == 0, resumed.err
    for name in ("last", "best"):
        one, other = (state(tmp_path / run / "checkpoints" / f"{name}.ckpt") for run in ("whole", "killed"))
        assert first_difference(one, other) == "", name


@pytest.mark.parametrize(
    ("number", "options"),
    [
        pytest.param(signal.SIGTERM, [], id="in_a_step"),
        pytest.param(signal.SIGUSR1, ["trainer.val_check_interval=2"], id="before_a_validation"),
        pytest.param(signal.SIGUSR2, ["trainer.val_check_interval=2"], marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, [], id="ctrl_c"),
    ],
)
@pytest.mark.usefixtures("on_a_terminal")
def test_a_signal_ends_a_run_with_a_checkpoint_of_the_present_step(number, options, images, tmp_path):
    settings = [
        "trainer.max_steps=7",
        "callbacks.last.every_n_train_steps=100",
        "trainer.log_every_n_steps=1",
        *options,
    ]
    settings += ["logger.tensorboard=null", "evaluation=null"]
    bomb = f"+callbacks.bomb={{_target_:{__name__}.Bomb,step:3,number:{int(number)}}}"
    assert run_command("train", *tiny_overrides(images, tmp_path / "whole"), *settings).code == 0
    stopped = run_command("train", *tiny_overrides(images, tmp_path / "stopped"), *settings, bomb)
    last = tmp_path / "stopped" / "checkpoints" / "last.ckpt"
    assert (stopped.code, stopped.err.count("\n")) == (143, 1)
    assert f"resume with ckpt={last}" in stopped.err
    assert torch.load(last, weights_only=True)["global_step"] == 4
    again = run_command("train", *tiny_overrides(images, tmp_path / "stopped"), *settings, f"ckpt={last}")
    assert again.code == 0, again.err
    for name in ("last", "best"):
        one, other = (state(tmp_path / run / "checkpoints" / f"{name}.ckpt") for run in ("whole", "stopped"))
        assert first_difference(one, other) == "", name
    steps = [int(row["step"]) for row in csv.DictReader((tmp_path / "stopped" / "csv" / "metrics.csv").open())]
    assert min(steps) < 4 <= max(steps), "the metrics from before are still there"


class Bomb(L.Callback):
    """Sends this process a signal, or several, in the middle of a step."""

    def __init__(self, step: int, number: int, times: int = 1):
        self.step, self.number, self.times = step, number, times

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        if trainer.global_step == self.step:
            for _ in range(self.times):
                os.kill(os.getpid(), self.number)


@pytest.fixture
def on_a_terminal():
    """Handle Ctrl-C, even if the tests run in the background."""
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, earlier)


@pytest.mark.usefixtures("on_a_terminal")
def test_a_second_ctrl_c_ends_a_run_at_once_and_the_next_run_handles_the_first(images, tmp_path):
    settings = ["trainer.max_steps=7", "callbacks.last.every_n_train_steps=2", "logger.tensorboard=null"]
    bomb = f"+callbacks.bomb={{_target_:{__name__}.Bomb,step:3,number:{int(signal.SIGINT)},times:2}}"
    assert run_command("train", *tiny_overrides(images, tmp_path / "run"), *settings, bomb).code == 1
    assert step_of(tmp_path / "run" / "checkpoints" / "last.ckpt") == 2, "the run does not wait for the end of the step"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_checkpoint_that_cannot_be_written_leaves_the_earlier_one(images, tmp_path, monkeypatch):
    settings = ["trainer.max_steps=4", "callbacks.last.every_n_train_steps=2", "logger.tensorboard=null"]
    n_writes = 0

    def full(descriptor: int) -> None:
        nonlocal n_writes
        n_writes += 1
        if n_writes > 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    overrides = [*tiny_overrides(images, tmp_path / "run"), *settings]
    fit(overrides, expect=MachineError)
    checkpoints = tmp_path / "run" / "checkpoints"
    assert {path.name for path in checkpoints.iterdir()} == {"last.ckpt", "step_2.ckpt"}, "and nothing half-written"
    assert torch.load(checkpoints / "last.ckpt", weights_only=True)["global_step"] == 2
    with pytest.raises(MachineError, match=r"No space left.*make room, then resume with ckpt=.*last\.ckpt"):
        fit([*tiny_overrides(images, tmp_path / "other"), *settings])


def test_two_processes_do_not_train_one_run(images, tmp_path):
    base = [*tiny_overrides(images, tmp_path / "run"), "trainer.max_steps=1", "evaluation=null", "ckpt=auto"]
    with lock_folder(tmp_path / "run", "run"):
        refused = run_command("train", *base)
    assert (refused.code, refused.err.count("\n")) == (1, 1), refused.err
    assert f"a run that is under way: process {os.getpid()} on" in refused.err
    assert run_command("train", *base).code == 0


def slow_settings(images: Path, folder: Path, n_steps: int) -> list[str]:
    settings = [f"trainer.max_steps={n_steps}", "callbacks.last.every_n_train_steps=3", "trainer.val_check_interval=10"]
    return [*tiny_overrides(images, folder), *settings, "evaluation=null", "logger.tensorboard=null"]


@pytest.mark.slow
def test_a_run_killed_ten_times_ends_with_identical_weights(tmp_path):
    """The moments are random: in a step, in a validation, while a checkpoint is written."""
    n_steps = 300  # many more than are taken between ten kills, also where steps are fast
    draw, images = random.Random(0), write_images(tmp_path / "images.npz", n=400)
    assert end(start_training(*slow_settings(images, tmp_path / "whole", n_steps))) == 0
    last, steps = tmp_path / "killed" / "checkpoints" / "last.ckpt", []
    for _ in range(10):
        process = start_training(*slow_settings(images, tmp_path / "killed", n_steps), "ckpt=auto")
        before = steps[-1] if steps else 0
        progress = before + draw.randrange(2, 12)
        wait_until(lambda at=progress: last.exists() and step_of(last) >= min(at, n_steps - 3), process)
        time.sleep(draw.random() * 0.2)
        process.kill()
        assert end(process) == -signal.SIGKILL
        steps.append(step_of(last))
    assert 0 < steps[0] < steps[-1] < n_steps
    assert end(start_training(*slow_settings(images, tmp_path / "killed", n_steps), "ckpt=auto")) == 0
    for name in ("last", "best"):
        one, other = (state(tmp_path / run / "checkpoints" / f"{name}.ckpt") for run in ("whole", "killed"))
        assert first_difference(one, other) == "", name


@pytest.mark.slow
def test_a_run_told_to_stop_ends_within_ten_seconds_and_records_it(tmp_path):
    images = write_images(tmp_path / "images.npz", n=400)
    process = start_training(*slow_settings(images, tmp_path / "run", 120))
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    wait_until(last.exists, process)
    began = time.monotonic()
    process.terminate()
    assert end(process) == 143
    assert time.monotonic() - began < 10
    assert '"status": "interrupted"' in (tmp_path / "run" / "run.json").read_text()
    assert 0 < step_of(last) < 120


@pytest.mark.slow
def test_a_full_disk_is_a_one_line_error_and_the_earlier_checkpoint_is_whole(tmp_path):
    disk, images = tmp_path / "disk", write_images(tmp_path / "images.npz")
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=5m", "tmpfs", disk], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    try:
        settings = ["trainer.max_steps=60", "callbacks.last.every_n_train_steps=2", "callbacks.last.save_top_k=-1"]
        overrides = [*tiny_overrides(images, disk / "run"), *settings, "logger.tensorboard=null", "evaluation=null"]
        ended = run_command("train", *overrides)
        assert ended.code == 1
        assert "No space left on device; earlier checkpoints are whole" in ended.err.splitlines()[-1]
        checkpoints = sorted((disk / "run" / "checkpoints").glob("*.ckpt"))
        assert len(checkpoints) > 2
        assert all(step_of(path) > 0 for path in checkpoints)
        for path in checkpoints[:-1]:
            if path.name not in ("best.ckpt", "last.ckpt"):
                path.unlink()
        again = run_command("train", *merge(overrides, ["callbacks.last.save_top_k=1", "ckpt=auto"]))
        assert again.code == 0, again.err
    finally:
        subprocess.run(["umount", disk], check=True)
