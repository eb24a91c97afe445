"""The commands, as a user meets them."""

import csv
import json
import math
import pkgutil
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.io import read_image, write_png

from nf_mnist import load_flow
from nf_mnist.app.evaluation import extremes, load_evaluation_task
from tests.support.helpers import VIEWS, is_shown, run_command, tiny_overrides, write_images

VALIDATE_OFTEN = ("trainer.val_check_interval=2", "trainer.log_every_n_steps=1")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Return a folder with ``images.npz`` and a finished training in ``run``."""
    folder = tmp_path_factory.mktemp("commands")
    overrides = tiny_overrides(write_images(folder / "images.npz"), folder / "run", views=VIEWS)
    finished = run_command("train", *overrides, "trainer.max_steps=4", *VALIDATE_OFTEN)
    assert finished.code == 0, finished.err
    (folder / "train.out").write_text(finished.out)
    return folder


@pytest.fixture
def best(folder) -> str:
    return f"ckpt={folder}/run/checkpoints/best.ckpt"


def test_training_ends_in_a_table_and_leaves_everything_in_its_folder(folder):
    out = (folder / "train.out").read_text()
    for part in (
        "parameters",
        "test bpd, mean of 2 single draws",
        "nats",
        "norm of z",
        "largest round-trip error",
        "training time",
        "best.ckpt",
        "tensorboard --logdir",
        "samples.png, norm_of_z.png, learning_curve.png, report.html in",
    ):
        assert part in out
    run = folder / "run"
    assert "data:image/png;base64" in (run / "report.html").read_text()
    names = {path.name for path in (run / "checkpoints").iterdir()}
    assert names == {"best.ckpt", "last.ckpt"}
    assert (run / "config.yaml").exists()
    assert json.loads((run / "metrics.json").read_text())["n_draws"] == 2
    rows = list(csv.DictReader((run / "csv" / "metrics.csv").open()))
    assert {"train/loss", "val/loss", "val/bpd"} <= rows[0].keys()


def test_evaluate_reproduces_the_metrics_of_training_to_the_last_digit(folder, best, tmp_path):
    written = [f"radius_plot={tmp_path}/radius.png", f"per_image={tmp_path}/scores.csv"]
    finished = run_command("evaluate", best, f"out={tmp_path}/metrics.json", *written)
    assert finished.code == 0, finished.err
    trained = json.loads((folder / "run" / "metrics.json").read_text())
    measured = json.loads((tmp_path / "metrics.json").read_text())
    for key in trained.keys() - {"training_seconds", "hardware", "checkpoint"}:
        assert measured[key] == trained[key], key
    assert measured["bpd"] == pytest.approx(-measured["log_likelihood"] / (196 * math.log(2)))
    assert measured["training"]["images"] == measured["training"]["steps"] * 16
    assert (tmp_path / "radius.png").stat().st_size > 1000
    scores = list(csv.DictReader((tmp_path / "scores.csv").open()))
    assert len(scores) == measured["n_images"]
    least_likely = min(scores, key=lambda score: float(score["log_likelihood"]))
    test = load_evaluation_task(best.removeprefix("ckpt="), None).images
    assert is_shown(test.levels[int(least_likely["index"]), 0], read_image(str(tmp_path / "scores.png"))[0])
    assert sum(float(score["bpd"]) for score in scores) / len(scores) == pytest.approx(measured["bpd"], rel=1e-4)
    again = run_command("evaluate", best, f"out={tmp_path}/metrics.json")
    assert (again.code, "exists already" in again.err) == (1, True)


def test_extreme_images_are_the_least_likely_and_then_the_most_likely():
    found = extremes(torch.tensor([3.0, 1.0, math.nan, 2.0, 5.0]))
    assert found.tolist() == [2, 1, 4, 0], "an image without a likelihood is unlikely"
    sizes = {n: len(extremes(torch.arange(float(n)))) // 2 for n in (1, 2, 15, 16, 31, 32, 100)}
    assert sizes == {1: 1, 2: 1, 15: 7, 16: 8, 31: 8, 32: 16, 100: 16}, "rows of eight are full"


def test_evaluate_measures_another_split_and_other_data(folder, best, tmp_path):
    for name, overrides in {
        "validation": ["evaluation.split=validation", "evaluation.n_images=5"],
        "other": ["data=array", f"path={folder}/images.npz", "data.n_validation=0.5"],
    }.items():
        assert run_command("evaluate", best, *overrides, f"out={tmp_path}/{name}.json").code == 0
    validation = json.loads((tmp_path / "validation.json").read_text())
    assert (validation["split"], validation["n_images"]) == ("validation", 5)


def test_sample_writes_one_picture_or_single_images_that_are_the_same(best, tmp_path):
    for out in ("grid.png", "single"):
        finished = run_command("sample", best, "n=9", "temperature=0.8", "seed=3", f"out={tmp_path}/{out}")
        assert finished.code == 0, finished.err
        assert "9 samples at temperature 0.8" in finished.out
    grid = read_image(str(tmp_path / "grid.png"))
    singles = [read_image(str(path)) for path in sorted((tmp_path / "single").iterdir())]
    assert len(singles) == 9
    assert singles[0].shape == (3, 14, 14)
    assert all(is_shown(image[0], grid[0]) for image in singles)
    assert json.loads((tmp_path / "grid.json").read_text())["temperature"] == 0.8


@pytest.mark.parametrize(("out", "metrics"), [("grid.png", "grid.json"), ("run_v1.0", "run_v1.0.json")])
def test_metrics_of_samples_have_a_file_of_their_own_that_is_not_overwritten(out, metrics, best, tmp_path):
    (tmp_path / metrics).write_text("of another command")
    refused = run_command("sample", best, "n=4", f"out={tmp_path}/{out}")
    assert (refused.code, f"{metrics} exists already" in refused.err, refused.out) == (1, True, "")
    assert not (tmp_path / out).exists()
    (tmp_path / metrics).unlink()
    assert run_command("sample", best, "n=4", f"out={tmp_path}/{out}").code == 0
    assert {path.name for path in tmp_path.iterdir()} == {out, metrics}


@pytest.mark.parametrize("device", ["mps", "meta", "null"])
def test_devices_of_which_nothing_is_known_are_refused(device, best, tmp_path):
    refused = run_command("sample", best, f"device={device}", f"out={tmp_path}/grid.png")
    assert (refused.code, refused.err.count("\n")) == (1, 1), refused.err
    assert "unknown device" in refused.err


@pytest.mark.parametrize("given", ["radius_plot={}/radius", "temperature_plot={}/t.foo"])
def test_a_picture_of_no_format_is_refused_before_work(given, best, tmp_path):
    refused = run_command("evaluate", best, given.format(tmp_path), f"out={tmp_path}/metrics.json")
    assert (refused.code, refused.err.count("\n"), refused.out) == (1, 1, ""), refused.err
    assert "has no ending of a picture" in refused.err


def test_an_export_that_cannot_be_written_is_a_sentence(best, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    ended = run_command("export", best, f"out={tmp_path}/small.ckpt")
    advice = "make room or choose another place, then repeat the command"
    said = f"error: cannot write {tmp_path}/small.ckpt: No space left on device; {advice}\n"
    assert (ended.code, ended.err) == (1, said)
    assert list(tmp_path.iterdir()) == [], "and nothing half-written"


def test_samples_depend_on_seed_and_temperature_alone(best, tmp_path):
    settings = {"a": "seed=1", "b": "seed=1 batch_size=4", "c": "seed=2", "d": "seed=1 temperature=0.5"}
    for name, given in settings.items():
        assert run_command("sample", best, "n=8", *given.split(), f"out={tmp_path}/{name}.png").code == 0
    pictures = {name: read_image(f"{tmp_path}/{name}.png") for name in settings}
    assert (pictures["a"].int() - pictures["b"].int()).abs().max() <= 1, "up to rounding"
    assert not torch.equal(pictures["a"], pictures["c"])
    assert not torch.equal(pictures["a"], pictures["d"])


def test_inpaint_writes_a_picture_and_metrics(best, tmp_path):
    given = ["mask=left", "n_images=5", "n_samples=3", "batch_size=2", "method.n_steps=2"]
    finished = run_command("inpaint", best, *given, f"out={tmp_path}/found")
    assert finished.code == 0, finished.err
    assert "squared error per image" in finished.out
    picture = read_image(str(tmp_path / "found" / "inpainting.png"))[0]
    *_, right = (picture == 255).all(0).logical_not().nonzero().flatten().tolist()
    assert right // (84 + 8) == 6, "truth, corrupted, 3 completions, mean and deviation"
    metrics = json.loads((tmp_path / "found" / "metrics.json").read_text())
    rows = list(csv.DictReader((tmp_path / "found" / "images.csv").open()))
    assert len(rows) == 5
    assert {int(row["label"]) for row in rows} <= set(range(10))
    mean = sum(float(row["squared_error"]) for row in rows) / 5
    assert mean == pytest.approx(metrics["squared_error"], rel=1e-4)
    assert metrics["gradients_per_image"] == 2 * 3
    again = run_command("inpaint", best, *given, f"out={tmp_path}/found")
    assert (again.code, "exists already" in again.err) == (1, True)


def test_inpaint_takes_a_picture_and_a_mask_of_ones_own(best, tmp_path):
    picture = torch.randint(256, (1, 14, 14), dtype=torch.uint8)
    write_png(picture, str(tmp_path / "digit.png"))
    write_png(
        (torch.arange(14) > 6).to(torch.uint8).mul(255).expand(1, 14, 14).contiguous(), str(tmp_path / "mask.png")
    )
    given = [best, f"image={tmp_path}/digit.png", f"mask={tmp_path}/mask.png", "method.n_steps=2"]
    assert run_command("inpaint", *given, f"out={tmp_path}/found").code == 0
    shown = read_image(str(tmp_path / "found" / "inpainting.png"))[0]
    assert is_shown(picture[0], shown), "the truth is the picture"
    write_png(torch.zeros(1, 8, 8, dtype=torch.uint8), str(tmp_path / "small.png"))
    refused = run_command("inpaint", best, f"image={tmp_path}/small.png", f"out={tmp_path}/other")
    assert (refused.code, refused.err.count("\n")) == (1, 1)
    assert "but this flow completes (1, 14, 14)" in refused.err


def fresh_start(folder: Path, run: Path, *given: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Train from the weights of the run in the folder; return the last checkpoints of that run and of the new one."""
    base = tiny_overrides(folder / "images.npz", run)
    finished = run_command("train", *base, f"init_from={folder}/run/checkpoints/last.ckpt", *given)
    assert finished.code == 0, finished.err
    one, other = (torch.load(at / "checkpoints" / "last.ckpt", weights_only=True) for at in (folder / "run", run))
    return one, other


def test_a_fresh_start_takes_over_weights_only(folder, tmp_path):
    one, other = fresh_start(folder, tmp_path / "fresh", "trainer.max_steps=1", "optimizer.lr=0.0")
    assert other["global_step"] == 1
    for name, value in one["state_dict"].items():
        if "running" not in name and "num_batches" not in name:
            assert torch.equal(value, other["state_dict"][name]), name


def test_parameters_that_are_not_to_be_trained_stay_as_they_are(folder, tmp_path):
    one, other = fresh_start(folder, tmp_path / "part", "trainer.max_steps=2", "trainable=bijectors\\.4")
    flow = load_flow(tmp_path / "part" / "checkpoints" / "last.ckpt")
    names = {f"flow.{name}" for name, _ in flow.named_parameters()}
    changed = {name for name in names if not torch.equal(one["state_dict"][name], other["state_dict"][name])}
    assert changed
    assert changed == {name for name in names if "bijectors.4" in name}


def test_undithered_levels_come_with_a_warning(folder, tmp_path):
    base = tiny_overrides(folder / "images.npz", tmp_path / "run")
    finished = run_command("train", *base, "data.dequantizer=none", "trainer.max_steps=1")
    assert finished.code == 0, finished.err
    assert "warning: undithered levels have no bound on their likelihood" in finished.out
    assert "bpd" not in finished.out
    assert "not a likelihood" in finished.out


def test_cp3_nats_are_printed_under_their_own_name_and_without_bpd(folder, tmp_path):
    base = tiny_overrides(folder / "images.npz", tmp_path / "run")
    finished = run_command("train", *base, "data.dequantizer=cp3", "data.count_log_det=false", "trainer.max_steps=1")
    assert finished.code == 0, finished.err
    assert "log-likelihood in logit space, CP3's protocol, nats" in finished.out
    assert "bpd" not in finished.out


@pytest.mark.slow
def test_a_sweep_runs_every_job_in_a_folder_of_its_own(folder, tmp_path):
    base = tiny_overrides(folder / "images.npz", tmp_path / "sweep")
    finished = run_command("train", "-m", *base, "seed=0,1", "trainer.max_steps=1")
    assert finished.code == 0, finished.err
    seeds = [json.loads(path.read_text()) for path in (tmp_path / "sweep").glob("*/metrics.json")]
    assert len({metrics["bpd"] for metrics in seeds}) == 2


@pytest.mark.slow
def test_commands_run_from_any_folder_and_end_with_status_1_without_a_traceback(tmp_path):
    finished = subprocess.run(
        [sys.executable, "-m", "nf_mnist.train", "model=nosuch"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 1
    assert finished.stderr.startswith("error: ")
    assert finished.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


COMMANDS = (
    *("train", "evaluate", "sample", "inpaint", "diagnose", "export", "export_page"),
    *("train_classifier", "play"),
)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_examples(command):
    finished = run_command(command, "--help")
    assert finished.code == 0
    assert f"python -m nf_mnist.{command}" in finished.out
    assert "Traceback" not in finished.out + finished.err


def test_every_command_is_a_script_that_can_be_called():
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    scripts = dict(re.findall(r'^"(nf_mnist\.\w+)" = "(.+)"$', project, re.M))
    assert scripts.keys() == {f"nf_mnist.{name}" for name in (*COMMANDS, "sweep_report")}
    for target in scripts.values():
        assert callable(pkgutil.resolve_name(target)), target
