"""In forty setups and more, a run that was killed, ended, or stopped by a signal ends as a run never stopped does."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import lightning as L
import pytest
import torch

from tests.support.helpers import NOISE, first_difference, merge, run_command, step_of, tiny_overrides, write_images
from tests.support.processes import end, start_training

N_STEPS, STOPPED_AT, SAVED_EVERY = 7, 5, 2
COMMON = [
    # The learning rate of a run that goes on with a larger budget depends on the budget unless it is constant.
    *("scheduler=constant", "evaluation=null", "logger.tensorboard=null", f"trainer.max_steps={N_STEPS}"),
    *(f"callbacks.last.every_n_train_steps={SAVED_EVERY}", "trainer.val_check_interval=2"),
]
COMPARED = ("state_dict", "current_model_state", "averaging_state", "optimizer_states", "global_step", "rate_factors")
FLOAT64, BFLOAT16 = "trainer.precision=64-true", "trainer.precision=bf16-mixed"
CLIPPED, ACCUMULATED = "trainer.gradient_clip_val=10", "trainer.accumulate_grad_batches=2"
LEARNED_NOISE = f"model.noise={NOISE}"
# A setup is a model and its overrides.
SETUPS = {
    "plain": ("resflow",),
    "float64": ("resflow", FLOAT64),
    "bfloat16": ("resflow", BFLOAT16),
    "accumulation": ("resflow", ACCUMULATED),
    "accumulation_of_three": ("resflow", "trainer.accumulate_grad_batches=3"),
    "clipped": ("resflow", CLIPPED),
    "clipped_by_value": ("resflow", "trainer.gradient_clip_val=0.1", "+trainer.gradient_clip_algorithm=value"),
    "ema": ("resflow", "callbacks=ema"),
    "fast_ema": ("resflow", "callbacks=ema", "callbacks.ema.decay=0.5"),
    "float64_ema": ("resflow", "callbacks=ema", FLOAT64),
    "accumulation_clipped_ema": ("resflow", "callbacks=ema", ACCUMULATED, CLIPPED),
    "skip_bad_steps": ("resflow", "callbacks=skip_bad_steps"),
    "recompute_statistics": ("resflow", "callbacks=recompute_statistics", "model.norm=batchnorm"),
    "adam_plain": ("resflow", "optimizer=adam_plain"),
    "adamw": ("resflow", "optimizer=adamw"),
    "muon": ("resflow", "optimizer=muon"),
    "float64_muon": ("resflow", "optimizer=muon", FLOAT64),
    "ema_muon": ("resflow", "optimizer=muon", "callbacks=ema"),
    "optimizer_of_nice": ("resflow", "optimizer=nice"),
    "not_fused": ("resflow", "optimizer.fused=false"),
    "amsgrad": ("resflow", "+optimizer.amsgrad=true"),
    "batchnorm": ("resflow", "model.norm=batchnorm"),
    "actnorm": ("resflow", "model.norm=actnorm"),
    "actnorm_accumulation": ("resflow", "model.norm=actnorm", ACCUMULATED),
    "batchnorm_ema": ("resflow", "model.norm=batchnorm", "callbacks=ema"),
    "learned_noise": ("resflow", LEARNED_NOISE),
    "float64_learned_noise": ("resflow", LEARNED_NOISE, FLOAT64),
    "shift": ("resflow", "data.max_shift=2"),
    "distortion": ("resflow", "data.distortion=0.1"),
    "recomputed_networks": ("resflow", "model.recompute=true"),
    "channels_last": ("resflow", "model.channels_last=true"),
    "gaussianize": ("resflow", "model.preprocess=gaussianize"),
    "some_parameters": ("resflow", "trainable=bias"),
    "time_budget": ("resflow", "trainer.max_time=00:10:00:00"),
    "nice": ("nice",),
    "realnvp": ("realnvp",),
    "residual_flow": ("residual_flow",),
    "glow": ("glow",),
    "spline": ("spline",),
    "tarflow": ("tarflow",),
    "jet": ("jet",),
    "cp3": ("cp3",),
}


class Stop(L.Callback):
    """Sends this process a signal in the middle of a step."""

    def __init__(self, number: int):
        self.number = number

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        if trainer.global_step == STOPPED_AT:
            os.kill(os.getpid(), self.number)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Callable[[str], Path]:
    """Return a function from a setup to the folder of its run that never stopped."""
    folder, runs = tmp_path_factory.mktemp("whole"), {}
    write_images(folder / "images.npz")

    def run(setup: str) -> Path:
        if setup not in runs:
            runs[setup] = folder / setup
            train(folder, runs[setup], setup)
        return runs[setup]

    return run


def overrides_of(folder: Path, run: Path, setup: str, *more: str) -> list[str]:
    model, *options = SETUPS[setup]
    return merge(tiny_overrides(folder / "images.npz", run, model), [*COMMON, *options, *more])


def train(folder: Path, run: Path, setup: str, *more: str, code: int = 0) -> None:
    ended = run_command("train", *overrides_of(folder, run, setup, *more))
    assert ended.code == code, ended.err


def is_killed(folder: Path, run: Path, setup: str) -> None:
    stop = f"+callbacks.stop={{_target_:{__name__}.Stop,number:{int(signal.SIGKILL)}}}"
    assert end(start_training(*overrides_of(folder, run, setup, stop))) == -signal.SIGKILL


def is_stopped(folder: Path, run: Path, setup: str) -> None:
    train(folder, run, setup, f"+callbacks.stop={{_target_:{__name__}.Stop,number:{int(signal.SIGTERM)}}}", code=143)


def ends(folder: Path, run: Path, setup: str) -> None:
    train(folder, run, setup, "trainer.max_steps=4")


WAYS = {"killed": is_killed, "stopped": is_stopped, "ended": ends}


def state(path: Path) -> dict:
    """Return what is compared of a checkpoint; nothing reads the numbers of batches that BatchNorm counts."""
    checkpoint = torch.load(path, weights_only=True)
    found = {key: checkpoint[key] for key in COMPARED if key in checkpoint}
    for key in ("state_dict", "current_model_state"):
        weights = found.get(key, {})
        found[key] = {name: value for name, value in weights.items() if not name.endswith("num_batches_tracked")}
    return found


@pytest.mark.parametrize("way", [pytest.param(way, marks=() if way == "killed" else pytest.mark.slow) for way in WAYS])
@pytest.mark.parametrize(
    "setup", [pytest.param(name, marks=() if name == "float64" else pytest.mark.slow) for name in SETUPS]
)
def test_a_run_that_goes_on_ends_like_one_that_never_stopped(setup, way, whole, tmp_path):
    expected = whole(setup)
    run = tmp_path / "run"
    WAYS[way](expected.parent, run, setup)
    assert 4 <= step_of(run / "checkpoints" / "last.ckpt") < N_STEPS
    train(expected.parent, run, setup, "ckpt=auto")
    for name in ("last", "best"):
        one, other = (state(folder / "checkpoints" / f"{name}.ckpt") for folder in (expected, run))
        assert first_difference(one, other) == "", name


def test_there_are_at_least_forty_setups():
    assert len(SETUPS) >= 40
