"""The record of a run, and repeating the run from it."""

import csv
import json
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nf_mnist import bfloat16, cores
from nf_mnist.runs import record
from nf_mnist.runs.record import KILLED, read_record, update_record
from tests.support.helpers import first_difference, run_command, tiny_overrides, write_images

STEPS = ("trainer.max_steps=5", "trainer.val_check_interval=2", "trainer.log_every_n_steps=1")
SECONDS = ("trainer.max_time=00:00:00:02", "trainer.val_check_interval=20")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Return a folder with ``images.npz`` and a finished run in ``run``."""
    folder = tmp_path_factory.mktemp("rerun")
    images = write_images(folder / "images.npz")
    finished = run_command("train", *tiny_overrides(images, folder / "run"), *STEPS, "optimizer.lr=0.002")
    assert finished.code == 0, finished.err
    return folder


def test_the_record_of_a_run_names_its_settings_environment_and_metrics(folder):
    record = json.loads((folder / "run" / "run.json").read_text())
    assert (record["status"], record["error"], record["seed"]) == ("completed", None, 0)
    assert torch.__version__.startswith(record["versions"]["torch"])
    assert {"python", "lightning", "hydra-core", "nf_mnist"} <= record["versions"].keys()
    assert "optimizer.lr=0.002" in record["overrides"]
    assert record["command"].startswith("python -m nf_mnist.train model=resflow")
    assert record["threads"] == torch.get_num_threads()
    assert record["seconds"] > 0
    assert record["git"] is None or len(record["git"]["commit"]) == 40
    rows = list(csv.DictReader((folder / "run" / "csv" / "metrics.csv").open()))
    best = min(float(row["val/bpd"]) for row in rows if row["val/bpd"])
    rounding = 4 * torch.finfo(torch.float32).eps
    assert record["val_bpd"] <= best * (1 + rounding), "the last weights may be better still; the log is in float32"
    assert json.loads((folder / "run" / "metrics.json").read_text())["split"] == "test"
    assert "lr: 0.002" in (folder / "run" / "config.yaml").read_text()


def test_uncommitted_changes_are_recorded_in_any_encoding(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "PACKAGE", tmp_path)
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "__init__.py").write_bytes(b"")
    for command in (["init"], ["add", "."], ["commit", "-m", "first"]):
        subprocess.run([*git, *command], check=True, capture_output=True)
    (tmp_path / "__init__.py").write_bytes(b"# caf\xe9\n")  # Latin-1
    record.environment(tmp_path)
    assert "+# caf\N{REPLACEMENT CHARACTER}" in (tmp_path / "uncommitted.diff").read_text()


def test_the_hparams_tab_is_filled(folder):
    written = EventAccumulator(str(folder / "run" / "tensorboard"))
    written.Reload()
    assert "best/val_bpd" in written.Tags()["scalars"]
    assert "_hparams_/session_start_info" in written.summary_metadata
    content = written.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert b"optimizer.lr" in content
    assert b"output_dir" not in content


def repeated(run: Path, folder: Path) -> None:
    """Check that the command repeats a run bit for bit."""
    finished = run_command("train", f"rerun={run}", f"output_dir={folder}")
    assert finished.code == 0, finished.err
    assert "warning" not in finished.out
    for name in ("last", "best"):
        one, other = (torch.load(at / "checkpoints" / f"{name}.ckpt", weights_only=True) for at in (run, folder))
        for key in ("global_step", "state_dict", "optimizer_states", "rate_factors"):
            assert first_difference(one[key], other[key]) == "", (name, key)
    metrics = [json.loads((at / "metrics.json").read_text()) for at in (run, folder)]
    assert metrics[0]["bpd"] == metrics[1]["bpd"]


def test_a_run_is_repeated_bit_for_bit(folder, tmp_path):
    repeated(folder / "run", tmp_path / "again")
    repeated(tmp_path / "again", tmp_path / "and_again")


def test_a_budget_of_time_is_repeated_with_its_steps_and_rates(folder, tmp_path):
    base = tiny_overrides(folder / "images.npz", tmp_path / "run")
    assert run_command("train", *base, *SECONDS, "scheduler.warmup=0").code == 0
    repeated(tmp_path / "run", tmp_path / "again")
    rates = torch.load(tmp_path / "again" / "checkpoints" / "last.ckpt", weights_only=True)["rate_factors"]
    assert rates[0] > 0.9
    assert rates[-1] < 0.2
    (tmp_path / "run" / "checkpoints" / "last.ckpt").unlink()
    refused = run_command("train", f"rerun={tmp_path}/run", f"output_dir={tmp_path}/third")
    assert (refused.code, refused.err.count("\n")) == (1, 1)
    assert "had a budget of time" in refused.err


def test_a_rerun_warns_of_another_machine(folder, tmp_path):
    shutil.copytree(folder / "run", tmp_path / "run")
    update_record(tmp_path / "run", hardware="an abacus")
    finished = run_command("train", f"rerun={tmp_path}/run", f"output_dir={tmp_path}/again")
    assert "warning: it ran on an abacus" in finished.out


def test_a_rerun_has_the_threads_of_its_run_and_gives_them_back(folder, tmp_path, monkeypatch):
    shutil.copytree(folder / "run", tmp_path / "run")
    before = torch.get_num_threads()
    update_record(tmp_path / "run", threads=before + 1, fewest_threads=before)
    monkeypatch.setattr(cores, "read_core_times", lambda: pytest.fail("a rerun keeps its threads"))
    finished = run_command("train", f"rerun={tmp_path}/run", f"output_dir={tmp_path}/again")
    assert finished.code == 0, finished.err
    assert f"warning: beside other processes it had {before} to {before + 1} threads" in finished.out
    again = read_record(tmp_path / "again")
    assert (again["threads"], again["fewest_threads"]) == (before + 1, before + 1)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("is_faster", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_run_is_repeated_and_resumed_in_the_precision_of_its_beginning(tmp_path, monkeypatch, is_faster):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    images, precision = write_images(tmp_path / "images.npz"), "bf16-mixed" if is_faster else "32-true"

    def recorded_precision(is_faster: bool, folder: str, *overrides: str) -> str:
        monkeypatch.setattr(bfloat16, "products_are_faster", lambda: is_faster)
        finished = run_command("train", *overrides, f"output_dir={tmp_path / folder}")
        assert finished.code == 0, finished.err
        return read_record(tmp_path / folder)["precision"]

    auto = (*tiny_overrides(images, tmp_path / "run"), "trainer.precision=auto")
    assert recorded_precision(is_faster, "run", *auto, "trainer.max_steps=2") == precision
    assert recorded_precision(not is_faster, "run", *auto, "trainer.max_steps=4", "ckpt=auto") == precision
    assert recorded_precision(not is_faster, "again", f"rerun={tmp_path / 'run'}") == precision
    assert recorded_precision(not is_faster, "other", *auto, "trainer.max_steps=2") != precision


def test_a_running_run_without_a_process_counts_as_killed(tmp_path):
    update_record(tmp_path, status="running", pid=1)
    assert read_record(tmp_path)["status"] == KILLED
    assert read_record(tmp_path / "nowhere") == {}
