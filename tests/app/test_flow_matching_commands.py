"""Flow matching on the command line: training, samples, bits per dimension, and one line for what cannot be done."""

import json

import pytest

from tests.support.helpers import run_command, tiny_overrides, write_images


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flow_matching")
    overrides = tiny_overrides(write_images(folder / "images.npz", side=28), folder / "run", "flow_matching")
    finished = run_command("train", *overrides, "model.flow.n_classes=10", "trainer.max_steps=2")
    assert finished.code == 0, finished.err
    return folder / "run"


def test_the_measurement_after_training_has_bits_per_dimension(run):
    assert json.loads((run / "metrics.json").read_text())["bpd"] > 0


def test_samples_have_a_label_and_are_guided(run, tmp_path):
    given = ["n=3", "label=7", "guidance=0.5", f"out={tmp_path}/grid.png"]
    finished = run_command("sample", f"ckpt={run}/checkpoints/best.ckpt", *given)
    assert finished.code == 0, finished.err
    metrics = json.loads((tmp_path / "grid.json").read_text())
    assert (metrics["guidance"], metrics["label"]) == (0.5, 7)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["model.flow.unet_channels=12"], "unet_channels must be a multiple of 8, got 12"),
        (["model.flow.tolerance=0"], "model.flow.tolerance must be above 0"),
        (["model.flow.n_sampling_steps=0"], "model.flow.n_sampling_steps must be at least 1"),
        (["model.flow.label_dropout=2"], "label_dropout must be from 0 to 1"),
        (["model.flow.max_evaluations=3"], "takes more than 3 evaluations"),
    ],
)
def test_settings_that_do_not_fit_are_refused_in_a_line(given, said, tmp_path):
    base = tiny_overrides(write_images(tmp_path / "images.npz"), tmp_path / "run", "flow_matching")
    finished = run_command("train", *base, *given, "trainer.max_steps=1")
    assert (finished.code, finished.err.count("\n")) == (1, 1), finished.err
    assert said in finished.err
