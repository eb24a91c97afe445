"""A run that ended and is continued with a larger budget ends like one that had the larger budget from the start."""

import csv
from pathlib import Path

import pytest
import torch

from tests.support.helpers import first_difference, run_command, tiny_overrides, write_images

COMPARED = ("state_dict", "optimizer_states", "global_step", "epoch", "loops", "rate_factors")
# The learning rate depends on the budget unless it is constant.
SETTINGS = [
    "scheduler=constant",
    "trainer.log_every_n_steps=1",
    "callbacks.last.every_n_train_steps=2",
    "logger.tensorboard=null",
    "evaluation=null",
]


@pytest.fixture
def images(tmp_path) -> Path:
    return write_images(tmp_path / "images.npz")  # 70 training images, 4 batches an epoch


def training_rows(folder: Path) -> list[tuple[str, str, str]]:
    """Return step, epoch and loss of each logged training step."""
    rows = csv.DictReader((folder / "csv" / "metrics.csv").open())
    return [(row["step"], row["epoch"], row["train/loss"]) for row in rows if row["train/loss"]]


@pytest.mark.parametrize(
    ("first", "second", "options"),
    [
        pytest.param("max_steps=3", "max_steps=7", ["trainer.val_check_interval=2"], id="in_mid_epoch"),
        pytest.param("max_steps=4", "max_steps=9", ["trainer.val_check_interval=3"], id="at_the_end_of_an_epoch"),
        pytest.param(
            "max_steps=6",
            "max_steps=9",
            ["trainer.val_check_interval=2"],
            id="after_a_validation",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "max_steps=4",
            "max_steps=9",
            ["trainer.val_check_interval=4"],
            id="validation_at_the_end",
            marks=pytest.mark.slow,
        ),
        pytest.param("max_epochs=1", "max_epochs=3", ["trainer.val_check_interval=3"], id="epochs"),
        pytest.param("max_steps=3", "max_steps=5", ["trainer.precision=64-true"], id="float64", marks=pytest.mark.slow),
        pytest.param("max_steps=3", "max_steps=5", ["callbacks=ema"], id="ema", marks=pytest.mark.slow),
        pytest.param("max_steps=3", "max_steps=5", ["model.norm=batchnorm"], id="batchnorm", marks=pytest.mark.slow),
        pytest.param(
            "max_steps=3", "max_steps=5", ["trainer.accumulate_grad_batches=2"], id="accumulate", marks=pytest.mark.slow
        ),
        pytest.param("max_steps=3", "max_steps=5", ["optimizer=muon"], id="muon", marks=pytest.mark.slow),
    ],
)
def test_a_larger_budget_continues_an_ended_run_to_the_bit(first, second, options, images, tmp_path):
    def train(name: str, budget: str, *more: str) -> Path:
        overrides = [*tiny_overrides(images, tmp_path / name), *SETTINGS, *options, f"trainer.{budget}", *more]
        overrides = list({text.partition("=")[0]: text for text in overrides}.values())
        finished = run_command("train", *overrides)
        assert finished.code == 0, finished.err
        return tmp_path / name / "checkpoints" / "last.ckpt"

    train("ended", first)
    train("ended", first, "ckpt=auto")  # no step is left, so nothing changes
    ends = [train("whole", second), train("ended", second, "ckpt=auto")]
    whole, continued = (torch.load(path, weights_only=True) for path in ends)
    for key in COMPARED:
        assert first_difference(without_counts(continued[key]), without_counts(whole[key])) == "", key
    assert training_rows(tmp_path / "ended") == training_rows(tmp_path / "whole")


def without_counts(state: object) -> object:
    """Leave out what counts validations or samples of statistics: the ended run had one more, at its end."""
    if isinstance(state, dict):
        left_out = ("num_batches_tracked", "val_loop", "_results")
        return {key: without_counts(value) for key, value in state.items() if not any(o in str(key) for o in left_out)}
    return state
