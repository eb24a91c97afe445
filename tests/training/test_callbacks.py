"""What the callbacks write, and when they stop a training."""

import math
from pathlib import Path

import lightning as L
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nf_mnist.errors import ConfigError, DivergenceError
from nf_mnist.flows import StandardNormal
from nf_mnist.training.callbacks import (
    LogLatentRadius,
    LogSamples,
    RecomputeStatistics,
    RunProgress,
    SkipBadSteps,
    StopOnDivergence,
    quality,
)
from tests.support.helpers import VIEWS, fit, tiny_overrides, write_images

IMAGES = {
    "samples/temperature_1",
    "samples/temperature_0.8",
    "samples/temperature_0.6",
    "samples/round_trip",
    "inpaint/lower",
    "latent/radius_against_chi",
    "latent/moments",
    "latent/projection",
}
SCALARS = {
    "train/loss",
    "train/bpd",
    "train/lr",
    "train/images_per_second",
    "val/loss",
    "val/bpd",
    "val/round_trip_error",
    "latent/radius_mean",
    "latent/radius_std",
    "latent/worst_mean",
    "latent/worst_std",
    "inpaint/squared_error",
    "inpaint/climb",
}


@pytest.fixture
def images(tmp_path) -> Path:
    return write_images(tmp_path / "images.npz")


@pytest.fixture
def events(images, tmp_path) -> EventAccumulator:
    settings = ["trainer.max_steps=6", "trainer.val_check_interval=2", "trainer.log_every_n_steps=1"]
    fit([*tiny_overrides(images, tmp_path / "run", views=VIEWS), *settings, "callbacks.progress.every_n_steps=1"])
    written = EventAccumulator(str(tmp_path / "run" / "tensorboard"), size_guidance={"images": 0})
    written.Reload()
    return written


def test_every_view_is_written_at_every_validation(events):
    tags = events.Tags()
    assert set(tags["images"]) == IMAGES
    assert set(tags["scalars"]) >= SCALARS
    assert tags["histograms"] == ["latent/radius"]
    for tag in IMAGES:
        assert [event.step for event in events.Images(tag)] == [2, 4, 6]
    assert len(events.Scalars("train/lr")) == 6
    assert all(0 < event.value < 1e-4 for event in events.Scalars("val/round_trip_error"))


@pytest.mark.parametrize("model", ["hierarchical", "conditional", "cp3"])
def test_every_kind_of_model_shows_inpaintings(model, images, tmp_path):
    wide = write_images(tmp_path / "wide.npz", side=16)
    settings = ["trainer.max_steps=1", "trainer.val_check_interval=1", "callbacks.inpainting.n_steps=3"]
    fit([*tiny_overrides(wide, tmp_path / "run", model, views=["inpainting"]), *settings])
    written = EventAccumulator(str(tmp_path / "run" / "tensorboard"), size_guidance={"images": 0})
    written.Reload()
    assert set(written.Tags()["images"]) == {"inpaint/lower"}
    assert math.isfinite(written.Scalars("inpaint/climb")[0].value)


def test_a_model_without_a_quick_method_shows_no_inpaintings(images, tmp_path):
    settings = ["trainer.max_steps=1", "trainer.val_check_interval=1", "model.preprocess=gaussianize"]
    fit([*tiny_overrides(images, tmp_path / "run", views=["inpainting"]), *settings])
    written = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    written.Reload()
    assert written.Tags()["images"] == []


def test_samples_come_from_the_same_latents_each_time(images, tmp_path, monkeypatch):
    draws, sample = [], StandardNormal.sample

    def recorded(self, *args, **kwargs):
        draws.append(sample(self, *args, **kwargs))
        return draws[-1]

    monkeypatch.setattr(StandardNormal, "sample", recorded)
    settings = ["trainer.max_steps=4", "trainer.val_check_interval=2", "callbacks.health=null"]
    trained = fit([*tiny_overrides(images, tmp_path / "run", views=["samples"]), *settings])
    [view] = [callback for callback in trained.trainer.callbacks if isinstance(callback, LogSamples)]
    assert len(draws) == 2 * len(view.temperatures) == 6, "at each of two validations, one for each temperature"
    assert draws[0].shape == (view.n_samples, 196)
    assert all(torch.equal(draw, draws[0]) for draw in draws)


def test_a_callback_may_be_left_out_and_a_run_may_have_no_logger(images, tmp_path):
    trained = fit([*tiny_overrides(images, tmp_path / "run"), "~logger", "trainer.max_steps=2"])
    assert trained.trainer.loggers == []


def test_the_quality_of_samples_is_not_measured_without_tensorboard(tmp_path, monkeypatch):
    def draw_levels(*args, **settings):
        raise AssertionError("nobody would see the metrics")

    monkeypatch.setattr(quality, "draw_levels", draw_levels)
    wide = write_images(tmp_path / "wide.npz", side=28)
    settings = ["callbacks=quality", "trainer.max_steps=1", "trainer.val_check_interval=1", "~logger"]
    assert fit([*tiny_overrides(wide, tmp_path / "run"), *settings]).trainer.global_step == 1


class Poison(L.Callback):
    """Makes weights NaN before a step."""

    def __init__(self, step: int):
        self.step = step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step:
            next(pl_module.flow.parameters()).data.fill_(float("nan"))


@pytest.mark.parametrize("every_n_steps", [1, 10])
def test_divergence_ends_a_training_with_its_step_and_the_last_good_checkpoint_is_kept(every_n_steps, images, tmp_path):
    settings = [
        "trainer.max_steps=30",
        "trainer.val_check_interval=2",
        "callbacks.last.every_n_train_steps=1",
        f"callbacks.divergence.every_n_steps={every_n_steps}",
        "logger.tensorboard=null",
    ]
    overrides = [*tiny_overrides(images, tmp_path / "run"), *settings]
    ended = fit(overrides, [Poison(5)], expect=DivergenceError)
    assert ended.trainer.global_step <= 5 + every_n_steps
    for name in ("best", "last"):
        checkpoint = torch.load(tmp_path / "run" / "checkpoints" / f"{name}.ckpt", weights_only=True)
        assert checkpoint["global_step"] <= 5
        assert all(value.isfinite().all() for value in checkpoint["state_dict"].values() if value.is_floating_point())


def test_the_error_of_divergence_says_what_to_do(images, tmp_path):
    with pytest.raises(
        DivergenceError, match=r"not finite at step 3;.*optimizer\.lr.*scale_activation=tanh.*dequantizer=uniform"
    ):
        fit([*tiny_overrides(images, tmp_path / "run"), "trainer.max_steps=30"], [Poison(2)])


def test_progress_says_loss_speed_and_time_left(images, tmp_path, capsys):
    fit([*tiny_overrides(images, tmp_path / "run"), "trainer.max_steps=20", "callbacks.progress.every_n_steps=5"])
    line = capsys.readouterr().err.splitlines()[0]
    for part in ("25%", "step 5", "train bpd", "images/s", "left"):
        assert part in line


class Shake(L.Callback):
    """Moves the last parameters of the flow at a step, so that its latents leave the prior."""

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == 8:
            with torch.no_grad():
                list(pl_module.flow.parameters())[-1].add_(10)


@pytest.mark.parametrize(("callbacks", "is_unstable"), [([Shake()], True), ([], False)])
def test_progress_says_that_validation_has_become_far_worse(callbacks, is_unstable, images, tmp_path, capsys):
    settings = ["trainer.max_steps=12", "trainer.val_check_interval=4", "callbacks.progress.every_n_steps=1"]
    settings += ["+callbacks.progress.seconds_between_lines=0", "optimizer.lr=1e-6", "model.norm=actnorm"]
    fit([*tiny_overrides(images, tmp_path / "run", "nice"), *settings], callbacks)
    lines = capsys.readouterr().err.splitlines()
    assert ("above the best: unstable; try a lower optimizer.lr" in lines[-1]) == is_unstable
    assert "above the best" not in lines[5], "which is between two good validations"


@pytest.mark.parametrize(
    "build",
    [
        lambda: LogSamples(0, [1.0]),
        lambda: LogSamples(4, [-1.0]),
        lambda: LogLatentRadius(0),
        lambda: StopOnDivergence(0),
        lambda: SkipBadSteps(0),
        lambda: RunProgress(0),
        lambda: RecomputeStatistics(0),
        lambda: RecomputeStatistics(-1),
    ],
)
def test_callbacks_refuse_numbers_out_of_range(build):
    with pytest.raises(ConfigError, match="at least"):
        build()
