"""A run goes on with its own settings, in its own folder, and with its best checkpoint."""

import re
import shutil
from pathlib import Path

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from omegaconf import OmegaConf

from nf_mnist import __version__
from nf_mnist.checkpoints.settings import check_settings
from nf_mnist.errors import ConfigError
from nf_mnist.runs.record import read_record
from nf_mnist.training.callbacks import SaveBest
from tests.support.helpers import first_difference, merge, run_command, step_of, tiny_overrides, write_images


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """Return a folder with ``images.npz`` and a run of two steps in ``run``."""
    folder = tmp_path_factory.mktemp("settings")
    base = tiny_overrides(write_images(folder / "images.npz"), folder / "run")
    finished = run_command("train", *base, "trainer.max_steps=2", "logger.tensorboard=null", "evaluation=null")
    assert finished.code == 0, finished.err
    return folder


@pytest.mark.parametrize(
    "override",
    [
        *("seed=1", "data.batch_size=8", "data.source.test_fraction=0.5", "optimizer.lr=1.0e-05"),
        *("scheduler.warmup=0.5", "+optimizer.betas=[0.5,0.9]", "~optimizer.weight_decay", "trainable=bias"),
        *("trainer.accumulate_grad_batches=2", "trainer.gradient_clip_val=10", "+trainer.limit_train_batches=2"),
        *("trainer.precision=64-true", "callbacks=skip_bad_steps"),
    ],
)
def test_a_run_goes_on_with_the_settings_that_it_began_with(override, run):
    last = run / "run" / "checkpoints" / "last.ckpt"
    refused = run_command(
        "train",
        *merge(tiny_overrides(run / "images.npz", run / "run"), [f"ckpt={last}", "trainer.max_steps=3", override]),
    )
    key = override.lstrip("+~").partition("=")[0]
    changed = "callbacks.skip._target_" if key == "callbacks" else key
    assert (refused.code, refused.err.count("\n")) == (1, 1), refused.err
    assert f"error: {changed} is " in refused.err
    assert f", but the run of {last} has " in refused.err
    assert f"init_from={last}" in refused.err


def test_settings_that_change_no_weight_may_differ_and_those_that_older_checkpoints_lack_are_named(recwarn):
    then = {"seed": 0, "data": {"source": {"path": "a.npz"}}, "model": {"compile": False, "flow": {"n": 1}}}
    now = {**then, "data": {"source": {"path": "b.npz"}, "n_validation": 5}, "trainer": {"max_steps": 9}}
    now["model"] = {"compile": True, "flow": {"n": 1, "new": 3}}
    check_settings({"config": {**then, "trainer": {"max_steps": 5}}}, now, "last.ckpt")
    texts = sorted(str(warning.message).partition("; ")[0] for warning in recwarn)
    assert texts == [
        "data.n_validation is 5, but the run of last.ckpt has absent",
        "model.flow.new is 3, but the run of last.ckpt has absent",
    ]
    with pytest.raises(ConfigError, match=r"^model.flow.n is 2, but the run of last.ckpt has 1; .*=last.ckpt$"):
        check_settings({"config": then}, {**now, "model": {"flow": {"n": 2}}}, "last.ckpt")


@pytest.mark.parametrize(
    ("setting", "before", "now"),
    [
        ("model.flow.level_prior", "none", "resampled"),
        ("model.flow.n_palettes", 64, 32),
        ("data.rerender", 0.0, 0.1),
    ],
)
def test_a_run_from_before_there_was_a_setting_goes_on_without_it(setting, before, now):
    def config(value: object) -> dict:
        return OmegaConf.to_container(OmegaConf.from_dotlist([f"{setting}={value}", "model.n=1", "data.n=1"]))

    then = {"model": {"n": 1}, "data": {"n": 1}}
    check_settings({"config": then}, config(before), "last.ckpt")
    with pytest.raises(ConfigError, match=rf"^{setting} is {now}, but the run of last.ckpt has {before}; "):
        check_settings({"config": then}, config(now), "last.ckpt")


def test_a_run_of_an_earlier_version_goes_on_from_the_names_that_it_had(tmp_path):
    images = write_images(tmp_path / "images.npz", side=16)
    settings = ["trainer.val_check_interval=1", "logger.tensorboard=null", "evaluation=null"]

    def train(name: str, *overrides: str) -> Path:
        finished = run_command("train", *tiny_overrides(images, tmp_path / name, "hierarchical"), *settings, *overrides)
        assert finished.code == 0, finished.err
        return tmp_path / name / "checkpoints" / "last.ckpt"

    last = train("whole", "trainer.max_steps=2")
    checkpoint = torch.load(last, weights_only=True)
    new = list(checkpoint["state_dict"])
    checkpoint["state_dict"] = {with_old_names(name): value for name, value in checkpoint["state_dict"].items()}
    assert any(".enter." in name for name in checkpoint["state_dict"])
    flow, optimizer = checkpoint["config"]["model"]["flow"], checkpoint["config"]["optimizer"]
    flow["n_levels"] = flow.pop("n_scales")
    optimizer["adam"] = ["enter", "leave", "position", "label"]
    shutil.copytree(tmp_path / "whole", tmp_path / "old")
    torch.save(checkpoint, tmp_path / "old" / "checkpoints" / "last.ckpt")
    ends = [train(name, "trainer.max_steps=4", "ckpt=auto") for name in ("whole", "old")]
    expected, actual = (torch.load(path, weights_only=True) for path in ends)
    assert list(actual["state_dict"]) == new
    for key in ("state_dict", "optimizer_states", "global_step"):
        assert first_difference(actual[key], expected[key]) == "", key


def with_old_names(name: str) -> str:
    return re.sub(r"\.(conv|proj)_(in|out)\.", lambda match: {"in": ".enter.", "out": ".leave."}[match.group(2)], name)


def test_a_run_goes_on_in_its_own_folder(run, tmp_path):
    last = run / "run" / "checkpoints" / "last.ckpt"
    overrides = [*tiny_overrides(run / "images.npz", tmp_path / "other"), f"ckpt={last}", "trainer.max_steps=3"]
    refused = run_command("train", *overrides)
    assert (refused.code, refused.err.count("\n")) == (1, 1)
    assert f"{last} is not in {tmp_path}/other/checkpoints" in refused.err
    assert not (tmp_path / "other" / "checkpoints").exists()


def test_a_run_whose_folder_was_moved_keeps_its_best_checkpoint(run, tmp_path):
    moved = shutil.copytree(run / "run", tmp_path / "moved")
    shutil.move(run / "images.npz", tmp_path / "images.npz")
    last, best = (moved / "checkpoints" / f"{name}.ckpt" for name in ("last", "best"))
    checkpoint, score = torch.load(last, weights_only=True), torch.tensor(-1e6)  # which no later validation beats
    (of_best,) = (state for state in checkpoint["callbacks"].values() if state.get("monitor") == "val/loss")
    of_best |= {"best_model_score": score, "kth_value": score, "best_k_models": {of_best["best_model_path"]: score}}
    torch.save(checkpoint, last)
    content = best.read_bytes()
    settings = ["trainer.max_steps=4", "trainer.val_check_interval=1", "logger.tensorboard=null", "evaluation=null"]
    try:
        again = run_command("train", *tiny_overrides(tmp_path / "images.npz", moved), *settings, "ckpt=auto")
    finally:
        shutil.move(tmp_path / "images.npz", run / "images.npz")
    assert again.code == 0, again.err
    assert step_of(last) == 4
    assert best.read_bytes() == content
    assert read_record(moved)["val_loss"] == -1e6


def test_a_best_checkpoint_that_is_not_there_is_made_anew(tmp_path):
    known = SaveBest(dirpath=tmp_path / "there", monitor="val/loss")
    path, score = str(tmp_path / "there" / "best.ckpt"), torch.tensor(1.0)
    known.best_model_path, known.best_model_score, known.best_k_models = path, score, {path: score}
    new = SaveBest(dirpath=tmp_path / "here", monitor="val/loss")
    new.load_state_dict(known.state_dict())
    assert (new.best_model_path, new.best_model_score, new.best_k_models) == ("", None, {})
    assert new.state_key == ModelCheckpoint(monitor="val/loss").state_key, "it goes on from Lightning's own"


CALLBACKS = "nf_mnist.training.callbacks"


@pytest.mark.parametrize("name", ["AverageWeights", "RecomputeStatistics", "SkipBadSteps"])
def test_a_callback_that_changes_weights_may_be_neither_dropped_nor_changed(name):
    with_it = {"callbacks": {"own": {"_target_": f"{CALLBACKS}.{name}", "x": 1}, "view": None}}
    changed = {"callbacks": {"own": {"_target_": f"{CALLBACKS}.{name}", "x": 2}}}
    without = {"callbacks": {"view": {"_target_": f"{CALLBACKS}.LogSamples"}}}
    for now, text in ((changed, "callbacks.own.x is 2"), (without, "callbacks.own._target_ is absent")):
        with pytest.raises(ConfigError, match=rf"^{text}, but the run of last.ckpt has "):
            check_settings({"config": with_it, "nf_mnist_version": __version__}, now, "last.ckpt")
    check_settings({"config": without, "nf_mnist_version": __version__}, {"callbacks": None}, "last.ckpt")


def test_settings_that_only_the_optimizer_in_the_checkpoint_tells_are_not_replaced(run, tmp_path):
    """Of an earlier version, whose configuration did not have them."""
    folder = shutil.copytree(run / "run", tmp_path / "run")
    last = folder / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(last, weights_only=True) | {"nf_mnist_version": "0.0.1"}
    torch.save(checkpoint, last)
    base = [*tiny_overrides(run / "images.npz", folder), f"ckpt={last}", "trainer.max_steps=3"]
    for override, text in (
        ("+optimizer.betas=[0.5,0.9]", "error: optimizer.betas is (0.5, 0.9), but the optimizer of"),
        ('trainable="scale_net.*weight"', "error: trainable is"),
    ):
        refused = run_command("train", *base, override)
        assert (refused.code, text in refused.err) == (1, True), refused.err
