"""One run has one record: metrics of what is done anew go, and the best checkpoint stays the best."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from nf_mnist.training.csv_logger import ResumableCSVLogger
from tests.support.helpers import merge, run_command, tiny_overrides, write_images

SETTINGS = ["trainer.log_every_n_steps=1", "logger.tensorboard=null", "evaluation=null", "trainer.val_check_interval=2"]


def train(folder: Path, *overrides: str) -> Path:
    """Train in ``run`` below a folder; return the folder of the run."""
    images = folder / "images.npz"
    base = tiny_overrides(images if images.exists() else write_images(images), folder / "run")
    finished = run_command("train", *merge(base, [*SETTINGS, *overrides]))
    assert finished.code == 0, finished.err
    return folder / "run"


def rows(run: Path) -> list[tuple[str, ...]]:
    """Return step and losses of each row of the metrics."""
    columns = ("step", "train/loss", "val/loss", "best/val_loss")
    found = csv.DictReader((run / "csv" / "metrics.csv").open())
    return [tuple(row[column] for column in columns) for row in found]


def test_a_run_that_goes_back_has_each_row_once_and_keeps_a_better_checkpoint(tmp_path):
    run = train(tmp_path, "trainer.max_steps=5", "callbacks.last.every_n_train_steps=1", "callbacks.last.save_top_k=-1")
    whole, checkpoints = rows(run), run / "checkpoints"
    best = torch.load(checkpoints / "best.ckpt", weights_only=True)
    assert best["global_step"] > 3, "the later weights are better"
    content = (checkpoints / "best.ckpt").read_bytes()
    (run / "metrics.json").write_text("{}")
    train(tmp_path, "trainer.max_steps=5", "callbacks.last.every_n_train_steps=1", f"ckpt={checkpoints}/step_3.ckpt")
    assert rows(run) == whole
    assert (checkpoints / "best.ckpt").read_bytes() == content
    assert json.loads((run / "run.json").read_text())["val_loss"] == pytest.approx(float(whole[-1][-1]))
    assert not (run / "metrics.json").exists(), "it was of an earlier best checkpoint"


def test_metrics_end_where_a_training_begins(tmp_path):
    """The rows before a checkpoint stay; a validation that is repeated loses its row."""
    folder = tmp_path / "csv"
    folder.mkdir()
    written = ["step,train/loss,val/loss", "0,9,", "1,8,", "1,,8.5", "2,7,", "3,6,", "3,,6.5", "4,,6.5"]

    def kept(n_steps: int, is_validation_to_come: bool) -> list[str]:
        (folder / "metrics.csv").write_text("\n".join(written) + "\n")
        total = {"ready": 2 + is_validation_to_come, "completed": 2}
        loops = {"fit_loop": {"epoch_loop.val_loop.batch_progress": {"total": total}}}
        logger = ResumableCSVLogger(tmp_path, name="", version="csv")
        logger.rewind({"global_step": n_steps, "loops": loops})
        return (folder / "metrics.csv").read_text().splitlines()

    assert kept(4, False) == written[:7]
    assert kept(4, True) == written[:6]
    assert kept(3, True) == written[:5]
    assert kept(2, True) == written[:3]
    ResumableCSVLogger(tmp_path, name="", version="csv").rewind(None)
    assert not (folder / "metrics.csv").exists()


def test_a_run_that_begins_again_with_other_settings_has_one_record(tmp_path):
    """It was killed before its first checkpoint."""
    run = train(tmp_path, "trainer.max_steps=2")
    first = rows(run)
    for path in (run / "checkpoints").iterdir():
        path.unlink()
    train(tmp_path, "trainer.max_steps=2", "seed=1", "ckpt=auto")
    assert len(rows(run)) == len(first)
    assert not set(rows(run)) & set(first)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """Return a folder with ``images.npz`` and a run in ``run`` that was started there, with a relative path."""
    folder, earlier = tmp_path_factory.mktemp("images"), Path.cwd()
    write_images(folder / "images.npz")
    os.chdir(folder)
    try:
        train(folder, "trainer.max_steps=1", "path=images.npz")
    finally:
        os.chdir(earlier)
    return folder


def replaced(folder: Path) -> Path:
    """Write other images of the same shape into ``images.npz``."""
    with np.load(folder / "images.npz") as file:
        arrays = dict(file)
    np.savez(folder / "images.npz", **{**arrays, "images": arrays["images"][::-1]})
    return folder / "images.npz"


def told(warnings: pytest.WarningsRecorder) -> int:
    """Return how often it was said that images are others."""
    texts = [str(warning.message) for warning in warnings]
    return sum("these are not the images of the training run" in text for text in texts)


def test_a_checkpoint_knows_its_images(trained, tmp_path, monkeypatch, recwarn):
    last = trained / "run" / "checkpoints" / "last.ckpt"
    source = torch.load(last, weights_only=True)["config"]["data"]["source"]
    assert source["path"] == str(trained / "images.npz")
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "images.npz", n=80)  # which the relative path would name
    measure = ["evaluate", f"ckpt={last}", "evaluation.split=test", "evaluation.n_draws=1", "evaluation.batch_size=8"]
    measure += ["evaluation.seed=0"]
    same = run_command(*measure, "out=same.json")
    assert same.code == 0, same.err
    assert not told(recwarn)
    original = (trained / "images.npz").read_bytes()
    replaced(trained)
    try:
        measured = run_command(*measure, "out=other.json")
        assert (measured.code, told(recwarn)) == (0, 1), measured.err
        on_purpose = run_command(*measure, "data=array", f"path={trained}/images.npz", "out=purpose.json")
        resumed = run_command(
            "train",
            *tiny_overrides(trained / "images.npz", trained / "run"),
            *("trainer.max_steps=2", "ckpt=auto", *SETTINGS),
        )
    finally:
        (trained / "images.npz").write_bytes(original)
    assert (on_purpose.code, told(recwarn)) == (0, 1), on_purpose.err
    assert (resumed.code, resumed.err.count("\n")) == (1, 1), resumed.err
    assert f"other images than those that the run of {last} began with" in resumed.err
