"""No command overwrites anything: not what was there, nor what another process makes meanwhile."""

import json
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from nf_mnist import export, train_classifier
from nf_mnist.app import output
from nf_mnist.checkpoints.writing import atomic_write, create_file, create_folder
from nf_mnist.errors import ConfigError
from nf_mnist.runs import training_run
from nf_mnist.runs.lock import lock_folder
from nf_mnist.runs.record import update_record
from nf_mnist.runs.resume import check_free
from tests.support.helpers import Finished, merge, run_command, tiny_overrides, write_images

QUICK = ("trainer.max_steps=1", "logger.tensorboard=null", "evaluation.n_draws=1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Return a folder with ``images.npz`` and a finished run in ``run``."""
    folder = tmp_path_factory.mktemp("overwriting")
    finished = run_command("train", *tiny_overrides(write_images(folder / "images.npz"), folder / "run"), *QUICK)
    assert finished.code == 0, finished.err
    return folder


@pytest.fixture(autouse=True)
def temporary(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def is_refused(finished: Finished, text: str) -> bool:
    return finished.code == 1 and finished.err.count("\n") == 1 and text in finished.err


@pytest.mark.parametrize("name", ["config.yaml", "metrics.json", "run.json", "csv"])
def test_a_run_refuses_a_folder_with_files_of_the_users_own(name, folder, tmp_path):
    own = tmp_path / "project" / name
    own.parent.mkdir()
    own.write_text("[]")
    finished = run_command("train", *tiny_overrides(folder / "images.npz", own.parent), *QUICK)
    assert is_refused(finished, f"{own} exists already"), finished
    assert own.read_text() == "[]"


def test_a_run_that_ended_before_its_first_checkpoint_is_begun_again(tmp_path):
    update_record(tmp_path, overrides=["seed=0"], status="failed")
    (tmp_path / "config.yaml").touch()
    check_free(tmp_path, None)


def test_a_run_that_another_process_made_meanwhile_is_seen_under_the_lock(folder, tmp_path, monkeypatch):
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"

    def build(cfg):
        last.parent.mkdir(parents=True)
        last.write_text("hours of work")
        return training_run.build_trainer_of_test(cfg)

    monkeypatch.setattr(training_run, "build_trainer_of_test", training_run.build_trainer, raising=False)
    monkeypatch.setattr(training_run, "build_trainer", build)
    finished = run_command("train", *tiny_overrides(folder / "images.npz", tmp_path / "run"), *QUICK)
    assert is_refused(finished, "holds a run already"), finished
    assert last.read_text() == "hours of work"


def test_a_run_that_another_process_resumed_meanwhile_is_left_to_it(folder, tmp_path, monkeypatch):
    run = shutil.copytree(folder / "run", tmp_path / "run")
    last = run / "checkpoints" / "last.ckpt"

    def build(cfg):
        atomic_write(last, lambda file: file.write((folder / "run" / "checkpoints" / "last.ckpt").read_bytes()))
        return training_run.build_trainer_of_test(cfg)

    monkeypatch.setattr(training_run, "build_trainer_of_test", training_run.build_trainer, raising=False)
    monkeypatch.setattr(training_run, "build_trainer", build)
    given = merge([*tiny_overrides(folder / "images.npz", run), *QUICK], ["ckpt=auto", "trainer.max_steps=2"])
    before = (run / "run.json").read_bytes()
    finished = run_command("train", *given)
    assert is_refused(finished, f"another process has gone on with the run in {run} meanwhile"), finished
    assert (run / "run.json").read_bytes() == before


def test_the_classifier_has_its_folder_to_itself(tmp_path, monkeypatch):
    monkeypatch.setattr(train_classifier, "_train", lambda cfg, run_dir: pytest.fail("it trains"))
    given = ("data=array", f"path={write_images(tmp_path / 'images.npz', side=28)}", "trainer.accelerator=cpu")
    with lock_folder(tmp_path / "run", "run"):
        finished = run_command("train_classifier", *given, f"output_dir={tmp_path / 'run'}")
    assert is_refused(finished, "a run that is under way"), finished


def test_equal_outputs_of_one_command_are_refused(folder, tmp_path):
    given = (f"ckpt={folder}/run/checkpoints/best.ckpt", f"out={tmp_path}/x.csv", f"per_image={tmp_path}/y/../x.csv")
    (tmp_path / "y").mkdir()
    assert is_refused(run_command("evaluate", *given), "two settings")
    assert not (tmp_path / "x.csv").exists()
    output.new_path(tmp_path / "x.csv")
    output.release_paths()


def test_a_command_reserves_its_output(tmp_path):
    output.new_path(tmp_path / "x.csv")
    with pytest.raises(ConfigError, match="a command that is under way"):
        output.new_path(tmp_path / "x.csv")
    output.release_paths()
    output.new_path(tmp_path / "x.csv")
    output.release_paths()


def test_an_output_that_is_made_meanwhile_is_kept_and_the_result_too(folder, tmp_path, monkeypatch):
    out = tmp_path / "weights.ckpt"

    def read(path):
        out.write_text("of someone else")
        return export.read_of_test(path)

    monkeypatch.setattr(export, "read_of_test", export.read_checkpoint, raising=False)
    monkeypatch.setattr(export, "read_checkpoint", read)
    finished = run_command("export", f"ckpt={folder}/run/checkpoints/best.ckpt", f"out={out}")
    assert (finished.code, out.read_text()) == (0, "of someone else"), finished
    assert finished.err.startswith(f"warning: {out} was made while the command ran; the result is in")
    assert (tmp_path / "weights-1.ckpt").stat().st_size > 1000


@pytest.mark.parametrize("links", [True, False], ids=["hard_links", "no_hard_links"])
def test_files_and_folders_are_created_at_the_first_free_name(links, tmp_path, monkeypatch):
    if not links:
        monkeypatch.setattr(os, "link", lambda *paths: (_ for _ in ()).throw(PermissionError(1, "no links here")))
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda n: create_file(tmp_path / "a.json", lambda file: file.write(b"%d" % n)), range(8)))
        folders = list(pool.map(lambda n: create_folder(tmp_path / "a"), range(8)))
    assert {int(path.read_bytes()) for path in paths} == set(range(8))
    assert {path.name for path in paths} == {"a.json", *(f"a-{n}.json" for n in range(1, 8))}
    assert len(set(folders)) == 8
    assert not list(tmp_path.glob(".*"))


def test_two_commands_in_one_second_have_folders_of_their_own(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = (f"ckpt={folder}/run/checkpoints/best.ckpt", "n=1")
    for _ in range(3):
        finished = run_command("sample", *given)
        assert finished.code == 0, finished.err
    assert len(list((tmp_path / "outputs" / "sample").glob("*/samples.png"))) == 3
    assert len(list((tmp_path / "outputs" / "sample").iterdir())) == 3, "Hydra and the command have the same folder"
    assert all(json.loads(path.read_text())["n"] == 1 for path in tmp_path.glob("outputs/sample/*/samples.json"))
