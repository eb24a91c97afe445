"""Settings of Lightning's Trainer that a training needs, or does not follow, are refused before anything is written."""

import json
import time

import pytest

from nf_mnist.runs.record import recorded
from tests.support.helpers import merge, run_command, tiny_overrides, write_images


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("trainer.max_epochs=-1", "set trainer.max_steps, or trainer.max_time=DD:HH:MM:SS"),
        ("+trainer.overfit_batches=1", "trainer.overfit_batches is not supported"),
        ("+trainer.reload_dataloaders_every_n_epochs=1", "trainer.reload_dataloaders_every_n_epochs is not supported"),
    ],
)
def test_a_training_without_end_or_with_another_order_of_images_is_refused(override, named, tmp_path):
    budget = [] if "max_epochs" in override else ["trainer.max_steps=1"]
    base = tiny_overrides(write_images(tmp_path / "images.npz"), tmp_path / "run")
    refused = run_command("train", *merge(base, [override, *budget]))
    assert (refused.code, refused.err.count("\n")) == (1, 1), refused.err
    assert named in refused.err
    assert not (tmp_path / "run" / "run.json").exists()


def test_the_seconds_of_a_run_do_not_depend_on_the_clock_of_the_machine(tmp_path, monkeypatch):
    now = time.time()
    with recorded(tmp_path, []):
        monkeypatch.setattr(time, "time", lambda: now - 3600)  # somebody sets the clock back
    assert 0 <= json.loads((tmp_path / "run.json").read_text())["seconds"] < 60
