"""The classifier that measures samples: its network, its distortions, its training."""

import json

import pytest
import torch
from lightning.pytorch.callbacks import Timer
from torch.testing import assert_close

from nf_mnist.app.building import build_trainer
from nf_mnist.app.trained import load_classifier
from nf_mnist.data import array_file, split
from nf_mnist.data.classifier_images import distort, outliers
from nf_mnist.nets import Classifier
from tests.support.helpers import compose_config, run_command, write_images


def test_probabilities_sum_to_one_and_every_parameter_gets_a_gradient():
    classifier = Classifier(4)
    levels = torch.randint(256, (6, 1, 28, 28), dtype=torch.uint8)
    classifier(levels.float() / 255).logsumexp(1).sum().backward()
    assert all(value.grad is not None and value.grad.abs().sum() > 0 for value in classifier.parameters())
    assert_close(classifier.eval().probabilities(levels).sum(1), torch.ones(6))


def test_no_distortion_leaves_images_as_they_are_and_some_moves_each_its_own_way():
    images = torch.rand(1, 1, 28, 28).expand(3, -1, -1, -1)
    assert_close(distort(images, 0.0), images)
    moved = distort(images, 0.2)
    assert (moved[0] - moved[1]).abs().max() > 0.1
    assert moved.min() >= 0
    assert moved.max() <= 1


def test_outliers_are_no_digits_but_keep_the_shape_and_range():
    images = (torch.arange(28 * 28) % 28 < 3).float().reshape(1, 1, 28, 28).expand(60, -1, -1, -1)
    others = outliers(images)
    assert others.shape == images.shape
    assert others.min() >= 0
    assert others.max() <= 1
    assert all((other != image).any() for other, image in zip(others, images, strict=True))
    sums = others.sum((1, 2, 3))
    assert (sums == images[0].sum()).double().mean() > 0.4, "those with the pixels of the image in another order"


def test_a_budget_of_time_ends_the_training(tmp_path):
    images = write_images(tmp_path / "images.npz", side=28)
    settings = ["data=array", f"path={images}", "run_dir=x", "trainer.accelerator=cpu", "trainer.max_time=00:00:01:00"]
    trainer = build_trainer(compose_config(settings, "train_classifier"))
    (timer,) = (callback for callback in trainer.callbacks if isinstance(callback, Timer))
    assert timer.time_remaining() == 60


def test_a_training_leaves_metrics_and_a_checkpoint_that_loads(tmp_path):
    images = write_images(tmp_path / "images.npz", side=28)
    settings = ["data=array", f"path={images}", "classifier.channels=4", "trainer.max_epochs=2", "data.batch_size=16"]
    run = [*settings, "trainer.accelerator=cpu", "trainer.precision=32-true", f"output_dir={tmp_path}/run"]
    finished = run_command("train_classifier", *run)
    assert finished.code == 0, finished.err
    assert "test accuracy" in finished.out
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert 0 <= metrics["test_accuracy"] <= 1
    assert metrics["epochs"] == 2
    classifier = load_classifier(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert not classifier.training
    again = run_command("train_classifier", *run)
    assert (again.code, "holds a run already" in again.err) == (1, True)


@pytest.mark.parametrize("n_steps", [3, 7])
def test_a_budget_that_ends_within_an_epoch_leaves_the_metrics_of_the_last_weights(n_steps, tmp_path):
    images = write_images(tmp_path / "images.npz", side=28)
    settings = ["data=array", f"path={images}", "classifier.channels=4", f"trainer.max_steps={n_steps}"]
    run = [*settings, "data.batch_size=16", "trainer.accelerator=cpu", "trainer.precision=32-true"]
    finished = run_command("train_classifier", *run, "trainer.max_epochs=-1", f"output_dir={tmp_path}/run")
    assert finished.code == 0, finished.err
    checkpoint = tmp_path / "run" / "checkpoints" / "last.ckpt"
    assert torch.load(checkpoint, weights_only=True)["global_step"] == n_steps
    validation, _ = split(array_file(str(images), 0.15, 0).train, 0.15, 0)
    is_right = load_classifier(checkpoint).probabilities(validation.levels).argmax(1) == validation.labels
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["validation_accuracy"] == pytest.approx(is_right.double().mean().item(), abs=1e-6)


def test_a_budget_of_time_in_another_format_is_refused_in_one_line(tmp_path):
    finished = run_command("train_classifier", "trainer.max_time=1h", f"output_dir={tmp_path}/run")
    assert (finished.code, finished.err.count("\n")) == (1, 1)
    assert "trainer.max_time must be DD:HH:MM:SS" in finished.err
