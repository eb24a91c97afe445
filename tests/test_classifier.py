"""The classifier that judges samples: its network, its distortions, its training."""

import json

import torch
from torch.testing import assert_close

from _helpers import run_command, write_images
from nf_mnist.config import load_classifier
from nf_mnist.nets import Classifier
from nf_mnist.training.classifier import distort, outliers


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


def test_a_training_leaves_figures_and_a_checkpoint_that_loads(tmp_path):
    images = write_images(tmp_path / "images.npz", side=28)
    given = ["data=array", f"path={images}", "classifier.channels=4", "trainer.max_epochs=2", "data.batch_size=16"]
    run = [*given, "trainer.accelerator=cpu", "trainer.precision=32-true", f"output_dir={tmp_path}/run"]
    finished = run_command("train_classifier", *run)
    assert finished.code == 0, finished.err
    assert "test accuracy" in finished.out
    figures = json.loads((tmp_path / "run" / "figures.json").read_text())
    assert 0 <= figures["test_accuracy"] <= 1
    assert figures["epochs"] == 2
    classifier = load_classifier(tmp_path / "run" / "checkpoints" / "last.ckpt")
    assert not classifier.training
    again = run_command("train_classifier", *run)
    assert (again.code, "holds a run already" in again.err) == (1, True)
