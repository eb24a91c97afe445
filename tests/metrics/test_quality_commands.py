"""Sample quality, as a user of the commands and of the callback meets it."""

import json

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from nf_mnist.errors import ConfigError, ShapeError
from nf_mnist.metrics import Quality, ReferenceImages
from nf_mnist.nets import Classifier
from nf_mnist.training.callbacks import LogQuality
from tests.support.helpers import fit, merge, run_command, tiny_overrides, write_images

METRICS = set(Quality._fields)


@pytest.fixture(scope="module", params=[28])
def run(request, tmp_path_factory) -> str:
    """Return ``ckpt=FILE`` of a flow that was trained for one step on images of a side."""
    folder = tmp_path_factory.mktemp("run")
    overrides = tiny_overrides(write_images(folder / "images.npz", side=request.param), folder / "run")
    assert run_command("train", *overrides, "trainer.max_steps=1").code == 0
    return f"ckpt={folder}/run/checkpoints/best.ckpt"


def test_evaluate_measures_samples_beside_the_floor(run, tmp_path):
    given = ["quality=true", "samples.n=9", "samples.temperatures=[1.0,0.5]", "evaluation.split=validation"]
    finished = run_command("evaluate", run, *given, f"out={tmp_path}/f.json", f"temperature_plot={tmp_path}/sweep.png")
    assert finished.code == 0, finished.err
    for part in ("9 samples at temperature 1", "9 training images", "against 9 validation images", "Frechet distance"):
        assert part in finished.out
    quality = json.loads((tmp_path / "f.json").read_text())["quality"]
    assert [row["temperature"] for row in quality["temperatures"]] == [1.0, 0.5]
    assert all(row.keys() >= METRICS for row in (*quality["temperatures"], quality["training_images"]))
    best = min(quality["temperatures"], key=lambda row: row["frechet_distance"])
    assert quality["best_temperature"] == best["temperature"]
    assert (tmp_path / "sweep.png").stat().st_size > 1000


def test_samples_are_drawn_in_a_chosen_precision_and_measured_in_float32(run, tmp_path, monkeypatch):
    """The classifier sees the same samples in float32, whatever drew them."""
    seen = []
    measure = ReferenceImages.measure
    monkeypatch.setattr(
        ReferenceImages,
        "measure",
        lambda self, levels: seen.append(torch.is_autocast_enabled("cpu")) or measure(self, levels),
    )
    quality = {}
    for precision in ("32-true", "bf16-mixed"):
        given = ["quality=true", "samples.n=40", "samples.temperatures=[1.0]", f"samples.precision={precision}"]
        assert run_command("evaluate", run, *given, f"out={tmp_path}/{precision}.json").code == 0
        quality[precision] = json.loads((tmp_path / f"{precision}.json").read_text())["quality"]
        assert quality[precision]["precision"] == precision
    assert seen == [False, False]
    assert quality["32-true"]["training_images"] == quality["bf16-mixed"]["training_images"]
    nearest = [found["temperatures"][0]["nearest_distance"] for found in quality.values()]
    assert nearest[0] != nearest[1], "rounding changes some pixel of 40 images"
    assert nearest[0] == pytest.approx(nearest[1], rel=0.1)


def test_metrics_are_written_before_pictures_are_drawn(run, tmp_path, monkeypatch):
    def no_room(*given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nf_mnist.plots.temperature_figure", no_room)
    given = ["quality=true", "samples.n=4", "samples.temperatures=[1.0]", f"temperature_plot={tmp_path}/t.png"]
    ended = run_command("evaluate", run, *given, f"out={tmp_path}/metrics.json")
    assert (ended.code, "No space left" in ended.err) == (1, True)
    assert json.loads((tmp_path / "metrics.json").read_text())["quality"]["temperatures"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["quality=true", "samples.n=3"], "samples.n must be a whole number of at least 4"),
        (["quality=true", "samples.n=null"], "samples.n must be"),
        (["quality=true", "samples.precision=64-true"], "samples.precision=64-true"),
        (["quality=true", "samples.precision=half"], "unknown precision 'half'"),
        (["quality=true", "samples.temperatures=[0.8]"], "temperatures must be 1.0"),
        (["temperature_plot={}/sweep.png"], "add quality=true"),
        (["quality=off"], "quality must be true or false"),
    ],
)
def test_evaluate_refuses_before_it_measures(given, said, run, tmp_path):
    overrides = [text.replace("{}", str(tmp_path)) for text in given]
    finished = run_command("evaluate", run, *overrides, f"out={tmp_path}/metrics.json")
    assert (finished.code, finished.err.count("\n")) == (1, 1)
    assert said in finished.err
    assert list(tmp_path.iterdir()) == []


def test_likelihoods_are_kept_when_the_quality_cannot_be_measured(run, tmp_path, monkeypatch):
    def fails(*given, **settings):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("nf_mnist.app.sample_quality.scan_temperatures", fails)
    ended = run_command("evaluate", run, "quality=true", "samples.n=4", f"out={tmp_path}/metrics.json")
    assert (ended.code, "Input/output error" in ended.err) == (1, True)
    assert json.loads((tmp_path / "metrics.json").read_text())["bpd"] > 0


def test_too_few_images_to_compare_with_are_refused(tmp_path):
    images = write_images(tmp_path / "images.npz", side=28)
    overrides = [*tiny_overrides(images, tmp_path / "run"), "data.n_validation=3", "trainer.max_steps=1"]
    fit([*overrides, "callbacks=quality"], expect=ConfigError)
    other = merge(overrides, [f"output_dir={tmp_path / 'without'}", "evaluation=null"])
    assert run_command("train", *other).code == 0
    ckpt = f"ckpt={tmp_path}/without/checkpoints/best.ckpt"
    given = ["evaluation.split=validation", "evaluation.n_draws=1", "evaluation.batch_size=4", "evaluation.seed=0"]
    ended = run_command("evaluate", ckpt, "quality=true", "samples.n=4", *given, f"out={tmp_path}/metrics.json")
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert "needs 4 images to compare with or more; there are 3 of validation" in ended.err
    assert not (tmp_path / "metrics.json").exists()


def test_sample_counts_what_the_classifier_sees(run, tmp_path):
    finished = run_command("sample", run, "n=6", "classify=true", f"out={tmp_path}/grid.png")
    assert finished.code == 0, finished.err
    metrics = json.loads((tmp_path / "grid.json").read_text())
    for what in ("samples", "training_images"):
        assert sum(metrics[what]["class_histogram"]) == 6
        assert f"{metrics[what]['confident_share']:.1%}" in finished.out
    refused = run_command("sample", run, "n=6", "classify=no", f"out={tmp_path}/other.png")
    assert "classify must be true or false" in refused.err


@pytest.mark.parametrize("run", [14], indirect=True)
@pytest.mark.parametrize(("command", "switch"), [("evaluate", "quality=true"), ("sample", "classify=true")])
def test_flows_of_other_images_are_refused(command, switch, run, tmp_path):
    finished = run_command(command, run, switch, f"out={tmp_path}/out.png")
    assert (finished.code, finished.err.count("\n")) == (1, 1)
    assert "digits of 28x28 pixels; this flow draws (1, 14, 14)" in finished.err
    assert list(tmp_path.iterdir()) == []


def test_the_callback_refuses_flows_of_other_images(tmp_path):
    overrides = tiny_overrides(write_images(tmp_path / "images.npz"), tmp_path / "run")
    fit([*overrides, "callbacks=quality", "trainer.max_steps=1"], expect=ShapeError)


def test_the_callback_writes_samples_and_floor_at_every_validation(tmp_path):
    images = write_images(tmp_path / "images.npz", side=28)
    settings = ["callbacks=quality", "callbacks.quality.n_samples=8", "trainer.max_steps=2"]
    fit([*tiny_overrides(images, tmp_path / "run"), *settings, "trainer.val_check_interval=1"])
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    names = METRICS - {"class_histogram"}
    for group in ("quality", "quality_floor"):
        written = {tag.partition("/")[2] for tag in events.Tags()["scalars"] if tag.partition("/")[0] == group}
        assert written == names
    assert [event.step for event in events.Scalars("quality/recall")] == [1, 2]
    floors = [event.value for event in events.Scalars("quality_floor/frechet_distance")]
    assert floors[0] == floors[1]
    with pytest.raises(ConfigError, match="at least 4"):
        LogQuality(Classifier(4), 3)
