"""TarFlow on the command line: denoised and guided samples, Bayes' rule, and one line for what cannot be done."""

import json
import math

import pytest

from tests.support.helpers import run_command, tiny_overrides, write_images

TRAINED = {  # by what the flow has
    "labels": ["model.flow.n_classes=10", "data.dequantizer=gaussian"],
    "uniform": ["model.flow.n_classes=10"],
    "nothing": ["model.flow.n_classes=0"],
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tarflow")
    images = write_images(folder / "images.npz", side=28)
    for name, settings in TRAINED.items():
        overrides = tiny_overrides(images, folder / name, "tarflow")
        finished = run_command("train", *overrides, *settings, "trainer.max_steps=2")
        assert finished.code == 0, finished.err
    return {name: folder / name for name in TRAINED}


def checkpoint(runs, name: str) -> str:
    return f"ckpt={runs[name]}/checkpoints/best.ckpt"


def test_gaussian_noise_has_no_bits_per_dimension(runs):
    with_noise, without = (json.loads((runs[name] / "metrics.json").read_text()) for name in ("labels", "nothing"))
    assert "bpd" not in with_noise
    assert without["bpd"] > 0


def test_samples_are_denoised_and_guided(runs, tmp_path):
    given = ["n=3", "label=7", "denoise=true", "guidance=0.5", f"out={tmp_path}/grid.png"]
    finished = run_command("sample", checkpoint(runs, "labels"), *given)
    assert finished.code == 0, finished.err
    metrics = json.loads((tmp_path / "grid.json").read_text())
    assert (metrics["noise_std"], metrics["guidance"], metrics["label"]) == (0.05, 0.5, 7)
    given = ["n=3", "guidance=0.5", "attention_temperature=2", f"out={tmp_path}/without.png"]
    assert run_command("sample", checkpoint(runs, "nothing"), *given).code == 0


@pytest.mark.parametrize("label", [3, "null"])
def test_images_of_a_class_or_of_any_are_completed_by_a_flow_with_labels(label, runs, tmp_path):
    given = ["mask=lower", "method=mode", "method.n_steps=1", "n_images=1", f"label={label}", f"out={tmp_path}/found"]
    finished = run_command("inpaint", checkpoint(runs, "uniform"), *given)
    assert finished.code == 0, finished.err
    metrics = json.loads((tmp_path / "found" / "metrics.json").read_text())
    assert metrics["label"] == (None if label == "null" else label)


@pytest.mark.parametrize(
    ("run", "label", "said"),
    [
        ("uniform", 10, "label=10, but this flow has 10 labels"),
        ("nothing", 3, "this flow has no class labels"),
        (
            "labels",
            3,
            "trained on ones with Gaussian noise, which leave it; data=mnist gives images with uniform noise",
        ),
    ],
)
def test_a_label_that_no_completion_can_have_is_refused_in_a_line(run, label, said, runs, tmp_path):
    finished = run_command("inpaint", checkpoint(runs, run), "n_images=1", f"label={label}", f"out={tmp_path}/found")
    assert (finished.code, finished.err.count("\n")) == (1, 1), finished.err
    assert said in finished.err


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["denoise=true"], "this flow was trained without it"),
        (["guidance=1"], "guidance needs class labels, and this flow has none"),
        (["attention_temperature=2"], "a setting of guidance; add guidance=1"),
        (["label=3"], "this flow has no class labels"),
        (["guidance=-1"], "guidance must be a number of at least 0"),
        (["denoise=yes"], "denoise must be true or false"),
    ],
)
def test_what_a_flow_cannot_do_for_its_samples_is_refused_in_a_line(given, said, runs, tmp_path):
    finished = run_command("sample", checkpoint(runs, "nothing"), *given, f"out={tmp_path}/grid.png")
    assert (finished.code, finished.err.count("\n")) == (1, 1), finished.err
    assert said in finished.err
    assert list(tmp_path.iterdir()) == []


def test_evaluate_classifies_by_bayes_rule_and_measures_denoised_samples(runs, tmp_path):
    given = ["classify=true", "quality=true", "samples.n=4", "samples.temperatures=[1.0]", "samples.denoise=true"]
    finished = run_command("evaluate", checkpoint(runs, "labels"), *given, f"out={tmp_path}/metrics.json")
    assert finished.code == 0, finished.err
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    for who in ("flow", "classifier"):
        assert 0 <= metrics["classification"][who]["accuracy"] <= 1
        assert metrics["classification"][who]["nats"] > 0
    assert "flow by Bayes' rule" in finished.out
    assert metrics["quality"]["noise_std"] == 0.05


@pytest.mark.parametrize(("run", "has_bits"), [("labels", False), ("uniform", True)])
def test_likelihoods_with_and_without_the_label_obey_bayes_rule(run, has_bits, runs, tmp_path):
    given = ["classify=true", "evaluation.n_draws=1", f"out={tmp_path}/metrics.json"]
    finished = run_command("evaluate", checkpoint(runs, run), *given)
    assert finished.code == 0, finished.err
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    found = metrics["classification"]
    expected = metrics["log_likelihood"] + found["flow"]["nats"] - math.log(10)  # log p(v) = log p(v, c) - log p(c | v)
    assert found["log_likelihood_without_label"] == pytest.approx(expected, rel=1e-6)
    assert ("bpd_without_label" in found) == has_bits
    assert ("bits per dimension if the label is unknown" in finished.out) == has_bits
    if has_bits:
        assert found["bpd_without_label"] == pytest.approx(-expected / (784 * math.log(2)), rel=1e-6)


def test_gaussian_noise_outside_of_the_unit_interval_is_no_fault(runs, tmp_path):
    given = ["n_images=20", f"out={tmp_path}/diagnosis"]
    finished = run_command("diagnose", checkpoint(runs, "labels"), *given)
    assert "Traceback" not in finished.err
    results = json.loads((tmp_path / "diagnosis" / "report.json").read_text())["results"]
    statuses = {result["check"]: result["status"] for result in results}
    assert statuses["data lie in the unit interval"] == "skip"
    assert statuses["inverse undoes forward"] == "pass"
    assert statuses["bits per dimension are possible"] == "skip"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["classify=true"], "no class labels to choose from"),
        (["quality=true", "samples.n=4", "samples.denoise=true"], "this flow was trained without it"),
        (["quality=true", "samples.n=4", "samples.guidance=1"], "guidance needs class labels"),
    ],
)
def test_evaluate_refuses_before_it_measures(given, said, runs, tmp_path):
    finished = run_command("evaluate", checkpoint(runs, "nothing"), *given, f"out={tmp_path}/metrics.json")
    assert (finished.code, finished.err.count("\n")) == (1, 1), finished.err
    assert said in finished.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["model.flow.patch_size=5"], "patch_size=5 does not divide the sides of images of 14x14"),
        (["model.flow.patch_size=14"], "use a smaller patch_size"),
        (["model.flow.transformer_heads=3"], "must be a multiple of transformer_heads=3"),
        (["model.flow.label_dropout=2"], "label_dropout must be from 0 to 1"),
        (["data.dequantizer=gaussian", "model.preprocess=logit"], "needs model.preprocess=symmetric or none"),
        (["data.dequantizer=gaussian", "data.noise_std=0"], "data.noise_std must be a number above 0"),
    ],
)
def test_settings_that_do_not_fit_are_refused_in_a_line(given, said, tmp_path):
    base = tiny_overrides(write_images(tmp_path / "images.npz"), tmp_path / "run", "tarflow")
    keys = {text.partition("=")[0] for text in given}
    overrides = [text for text in base if text.partition("=")[0] not in keys]
    finished = run_command("train", *overrides, *given, "trainer.max_steps=1")
    assert (finished.code, finished.err.count("\n")) == (1, 1), finished.err
    assert said in finished.err
