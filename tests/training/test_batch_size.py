"""``data.batch_size=auto`` finds the batch size at which a GPU is busy; where there is none, one line says so."""

import pytest
import torch

from nf_mnist.app.batch_size import resolve_batch_size
from nf_mnist.app.settings import check_training
from nf_mnist.errors import ConfigError, MachineError
from nf_mnist.training.batch_size import SMALLEST, speeds_until_busy
from tests.support.helpers import compose_config, merge, run_command, tiny_overrides, write_images


@pytest.fixture
def auto(tmp_path):
    """Return the overrides of a small training with ``data.batch_size=auto``."""
    images = write_images(tmp_path / "images.npz", n=1200)
    others = ["data.batch_size=auto", "data.n_validation=100", "trainer.max_steps=1", "run_dir=${output_dir}"]
    return merge(tiny_overrides(images, tmp_path / "run"), others)


@pytest.mark.parametrize("n_hidden", [10, 100, 1000])
def test_doubling_ends_where_it_gains_less_than_a_tenth(n_hidden):
    """A step that takes n_hidden + n is faster per image by n_hidden / (n_hidden + 2 n) when n is doubled."""
    speeds = speeds_until_busy(lambda n: n / (n_hidden + n), largest=2**20)
    gains = {size: n_hidden / (n_hidden + 2 * size) for size in (SMALLEST * 2**power for power in range(20))}
    assert list(speeds) == [SMALLEST, *(2 * size for size in gains if gains[size] >= 0.1)]


def test_a_batch_fits_into_the_memory_and_the_images():
    assert max(speeds_until_busy(lambda n: n if n <= 256 else None, largest=2**20)) == 256
    assert max(speeds_until_busy(float, largest=1000)) == 512
    assert speeds_until_busy(lambda n: None, largest=2**20) == {}


def test_the_size_is_found_by_training_and_said(auto, capsys):
    cfg = compose_config(auto)
    resolve_batch_size(cfg, "cpu")
    assert cfg.data.batch_size == SMALLEST, "1,100 images make 20 steps of 32 or more, but not of 64"
    assert capsys.readouterr().out.startswith(f"data.batch_size={SMALLEST}, since")
    assert torch.get_default_dtype() == torch.float32


def test_a_resumed_run_keeps_its_size(auto, tmp_path):
    torch.save({"state_dict": {}, "config": {"data": {"batch_size": 48}}}, tmp_path / "last.ckpt")
    cfg = compose_config([*auto, f"ckpt={tmp_path}/last.ckpt"])
    resolve_batch_size(cfg)
    assert cfg.data.batch_size == 48


def test_without_a_gpu_one_line_asks_for_a_number(auto):
    ended = run_command("train", *(text for text in auto if not text.startswith("run_dir")))
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert "this training runs on the CPU; give a number, such as data.batch_size=128" in ended.err
    assert run_command("train", "data.batch_size=many").err.startswith("error: data.batch_size must be a whole number")


def test_several_gpus_or_a_classifier_ask_for_a_number(auto, monkeypatch):
    monkeypatch.setattr("nf_mnist.app.settings.resolve_accelerator", lambda name: "cuda")
    monkeypatch.setattr("nf_mnist.app.settings.check_n_devices", lambda n, accelerator: None)
    check_training(compose_config(auto))
    refused = [
        compose_config([*auto, "trainer.devices=2"]),
        compose_config(["data.batch_size=auto"], "train_classifier"),
    ]
    for cfg in refused:
        with pytest.raises(ConfigError, match=r"of a flow for one GPU .*; give a number here"):
            check_training(cfg)


def test_a_model_that_fits_nowhere_is_refused(auto, monkeypatch):
    monkeypatch.setattr("nf_mnist.training.batch_size.TrainingSpeed.__call__", lambda self, batch_size: None)
    with pytest.raises(MachineError, match="not even 32 images fit"):
        resolve_batch_size(compose_config(auto), "cpu")
