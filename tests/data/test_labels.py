"""Labels of a user's images: whole numbers, classes of the flow, and never made up."""

from pathlib import Path

import numpy as np
import pytest

from nf_mnist.data import array_file
from nf_mnist.data.sets import NO_LABEL
from nf_mnist.errors import DataError
from tests.support.helpers import merge, run_command, tiny_overrides, write_images

N_TEST = 20


def write(path: Path, n: int = 96, **labels: object) -> Path:
    """Write images with test images and the given arrays of labels; return the file."""
    images = np.random.default_rng(0).integers(0, 256, (n + N_TEST, 14, 14), dtype=np.uint8)
    np.savez(path, images=images[:n], test_images=images[n:], **labels)
    return path


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ([0, 1, 3.9, 2], r"'labels' in .*x\.npz holds 3\.9 in row 2; expected whole numbers from 0"),
        ([0, 1, 2, float("nan")], r"'labels' in .*x\.npz holds nan in row 3"),
        ([0, 1, -1, 2], r"'labels' in .*x\.npz holds -1 in row 2"),
        (np.array([0, 2**64 - 1, 1, 2], dtype=np.uint64), r"holds 18446744073709551615 in row 1"),
        (["a", "b", "c", "d"], r"'labels' in .*x\.npz holds <U1; expected whole numbers"),
        ([1j, 0, 0, 0], r"holds complex128"),
    ],
)
def test_labels_that_are_no_whole_numbers_are_refused_and_named(labels, said, tmp_path):
    path = write(tmp_path / "x.npz", 4, labels=np.array(labels))
    with pytest.raises(DataError, match=said):
        array_file(str(path), 0.5, 0)


def test_whole_numbers_of_any_type_are_labels_and_missing_ones_are_no_class(tmp_path):
    train, test = array_file(str(write(tmp_path / "x.npz", 4, labels=np.array([3.0, 1, 2, 0]))), 0.5, 0)
    assert train.labels.tolist() == [3, 1, 2, 0]
    assert test.labels.tolist() == [NO_LABEL] * N_TEST


LABELS = np.arange(96) % 10
OTHER = np.where(np.arange(96) % 10 == 9, 12, LABELS)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("labels")
    write(folder / "no_test.npz", labels=LABELS)
    write(folder / "none.npz")
    write(folder / "high.npz", labels=OTHER, test_labels=LABELS[:N_TEST])
    write(folder / "high_test.npz", labels=LABELS, test_labels=OTHER[:N_TEST])
    settings = [*tiny_overrides(write_images(folder / "good.npz"), folder / "run", "hierarchical"), "evaluation=null"]
    assert run_command("train", *settings, "model.flow.n_classes=10", "trainer.max_steps=1").code == 0
    return folder


CASES = [
    ("no_test", "the images have none: there is no 'test_labels' in {}/no_test.npz"),
    ("none", "labels' in {}/none.npz"),
    ("high_test", "the images have 0 to 12 ('test_labels' in {}/high_test.npz)"),
]


@pytest.mark.parametrize(("name", "said"), [*CASES, ("high", "the images have 0 to 12 ('labels' in {}/high.npz)")])
def test_training_with_labels_is_refused_before_it_starts(name, said, files, tmp_path):
    settings = ["model.flow.n_classes=10", "trainer.max_steps=1"]
    ended = run_command(
        "train", *merge(tiny_overrides(files / f"{name}.npz", tmp_path / "run", "hierarchical"), settings)
    )
    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1), ended.err
    assert said.format(files) in ended.err
    assert not (tmp_path / "run" / "checkpoints").exists()


@pytest.mark.parametrize(("name", "said"), CASES)
@pytest.mark.parametrize("command", ["evaluate", "diagnose"])
def test_a_flow_with_labels_is_not_measured_on_images_without(command, name, said, files, tmp_path):
    given = [f"ckpt={files}/run/checkpoints/last.ckpt", "data=array", f"path={files}/{name}.npz"]
    split = {"evaluate": "evaluation.split=test", "diagnose": "split=test"}[command]
    measured = ["evaluation.n_draws=1", "evaluation.batch_size=8", "evaluation.seed=0"] * (command == "evaluate")
    ended = run_command(command, *given, split, *measured, f"output_dir={tmp_path}/out")
    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1), ended.err
    assert said.format(files) in ended.err


def test_a_flow_with_labels_is_not_told_from_images_without(files, tmp_path):
    settings = {"split": "test", "n_draws": 1, "batch_size": 8, "seed": 0}
    given = [f"ckpt={files}/run/checkpoints/last.ckpt", *(f"evaluation.{key}={settings[key]}" for key in settings)]
    ended = run_command("evaluate", *given, f"ood_data={files}/none.npz", f"output_dir={tmp_path}/out")
    assert ended.code == 1
    assert ended.err.splitlines()[-1].startswith("error: this flow is conditioned on labels 0 to 9, the images have no")


def test_the_classifier_is_not_trained_on_images_without_labels(tmp_path):
    images = np.zeros((40, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "x.npz", images=images)
    settings = [f"path={tmp_path}/x.npz", "data.batch_size=16", "classifier.channels=4", f"output_dir={tmp_path}/run"]
    ended = run_command("train_classifier", "data=array", *settings, "trainer.accelerator=cpu")
    assert (ended.code, ended.err.count("\n")) == (1, 1), ended.err
    assert "the classifier is trained on labels 0 to 9, the images have none: there is no 'labels' in" in ended.err
