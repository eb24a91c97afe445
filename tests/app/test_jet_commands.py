"""Jet on the command line: it completes images by both methods that follow gradients, and refuses what it cannot be."""

import json

import pytest

from tests.support.helpers import run_command, tiny_overrides, write_images

METHODS = {
    "mode": ["method.n_steps=2"],
    "posterior": ["method.n_chains=2", "method.n_warmup=2", "method.thinning=1"],
}


@pytest.fixture(scope="module")
def ckpt(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("jet")
    images = write_images(folder / "images.npz")
    finished = run_command("train", *tiny_overrides(images, folder / "run", "jet"), "trainer.max_steps=20")
    assert finished.code == 0, finished.err
    return f"ckpt={folder}/run/checkpoints/best.ckpt"


@pytest.mark.parametrize("method", METHODS)
def test_it_completes_images(method, ckpt, tmp_path):
    given = [f"method={method}", *METHODS[method], "n_images=2", "n_samples=2", f"out={tmp_path}/out"]
    finished = run_command("inpaint", ckpt, *given)
    assert finished.code == 0, finished.err
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["squared_error"] > 0


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("model.flow.patch_size=5", "patch_size=5 does not divide the sides of images of 14x14"),
        ("model.flow.splits=spatial", "splits must be a list of channel and spatial, got 'spatial'"),
        ("model.flow.splits=[rows]", "splits must be a list of channel and spatial"),
    ],
)
def test_what_cannot_be_built_is_refused_in_a_line(given, said, tmp_path):
    base = tiny_overrides(write_images(tmp_path / "images.npz"), tmp_path / "run", "jet")
    overrides = [text for text in base if text.partition("=")[0] != given.partition("=")[0]]
    finished = run_command("train", *overrides, given, "trainer.max_steps=1")
    assert (finished.code, finished.err.count("\n")) == (1, 1), finished.err
    assert said in finished.err
