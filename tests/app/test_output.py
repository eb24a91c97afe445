"""What commands write: only where they are told to, and nothing when they are refused or the disk is full."""

import logging
import os

import pytest

from nf_mnist import __version__
from nf_mnist.app.output import new_figure_path, release_paths
from nf_mnist.errors import ConfigError
from tests.support.helpers import merge, run_command, tiny_overrides

COMMANDS = (
    "train",
    "evaluate",
    "sample",
    "inpaint",
    "diagnose",
    "export",
    "export_page",
    "train_classifier",
    "sweep_report",
    "play",
)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Work in an empty folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.mark.parametrize(
    ("command", "given"),
    [
        ("sample", "n=4 out={}/grid.png"),
        ("evaluate", "evaluation.n_images=4 out={}/metrics.json radius_plot={}/radius.png"),
        ("inpaint", "n_images=2 method.n_steps=1 out={}/found"),
        ("export", "out={}/small.ckpt"),
    ],
)
def test_only_the_named_output_is_written(command, given, here, files, tmp_path):
    ckpt = f"ckpt={files}/run/checkpoints/last.ckpt"
    ended = run_command(command, ckpt, *given.format(*[tmp_path / "there"] * 2).split())
    assert ended.code == 0, ended.err
    assert list(here.iterdir()) == []
    assert (tmp_path / "there").is_dir()


@pytest.mark.parametrize("given", ["", "out={}/a/b/grid.png"])
def test_a_refused_command_leaves_no_folder(given, here, files, tmp_path):
    refused = run_command("sample", f"ckpt={files}/truncated.ckpt", *given.format(tmp_path).split())
    assert refused.code == 1
    assert [path.name for path in tmp_path.iterdir()] == ["here"]
    assert list(here.iterdir()) == []


def test_a_disk_that_fills_up_leaves_no_half_made_folder(here, files, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    ckpt = f"ckpt={files}/run/checkpoints/last.ckpt"
    for command, given in {
        "sample": f"n=4 out={tmp_path}/a/grid.png",
        "evaluate": f"evaluation.n_images=4 out={tmp_path}/a/metrics.json",
    }.items():
        ended = run_command(command, ckpt, *given.split())
        name = given.rpartition("=")[2]
        assert ended.err.splitlines()[-1].startswith(f"error: cannot write {name}: No space left on device; "), (
            ended.err
        )
        assert ended.code == 1
        assert [path.name for path in tmp_path.iterdir()] == ["here"]


@pytest.mark.parametrize("name", ["x", "x.nosuch", "x.pgf"])
def test_a_format_that_cannot_be_written_is_refused_before_work(name, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")  # .pgf needs LaTeX
    with pytest.raises(ConfigError, match=r"radius_plot=.* has no ending of a picture that can be written here"):
        new_figure_path("radius_plot", str(tmp_path / name))
    for suffix in ("png", "svg", "pdf", "PNG"):
        new_figure_path("radius_plot", str(tmp_path / f"x.{suffix}"))
    release_paths()


@pytest.mark.parametrize("command", COMMANDS)
def test_the_version_is_that_of_nf_mnist(command):
    ended = run_command(command, "--version")
    assert ended.code == 0
    assert ended.out.startswith(f"nf_mnist {__version__} with torch ")


def test_a_profiler_of_lightnings_prints_its_report(files, tmp_path):
    base = tiny_overrides(files / "images.npz", tmp_path / "run")
    given = ["trainer.max_steps=1", "evaluation=null", "+trainer.profiler=simple"]
    printed, handler = [], logging.Handler()
    handler.emit = printed.append
    logger = logging.getLogger("lightning.pytorch.profilers")  # where its parent was made first, it does not propagate
    logger.addHandler(handler)
    try:
        ended = run_command("train", *merge(base, given))
    finally:
        logger.removeHandler(handler)
    assert ended.code == 0, ended.err
    assert any("Profiler Report" in record.getMessage() for record in printed)


@pytest.mark.parametrize("flags", ["--multirun --cfg job", "--info all --cfg job", "--experimental-rerun nosuch"])
def test_flags_that_hydra_refuses_are_a_line(flags):
    ended = run_command("train", *flags.split())
    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1), ended.err
    assert ended.err.startswith("error: ")
