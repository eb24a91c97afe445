"""A checkpoint from a stranger reads local data, is refused before anything is measured, and writes nothing."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nf_mnist.app import evaluation
from nf_mnist.app.messages import one_line, printable
from nf_mnist.app.tables import plain
from nf_mnist.app.trained import load_trained
from nf_mnist.data import mnist, torchvision_set
from nf_mnist.errors import CheckpointError, ConfigError, DataError
from tests.support.helpers import Finished, run_command, tiny_overrides, write_images
from tests.support.sampling import sampled

MEASURE = ("evaluation.split=test", "evaluation.n_draws=1", "evaluation.batch_size=8", "evaluation.seed=0")
REMOVED = object()


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """Return the folder of a training of one step."""
    folder = tmp_path_factory.mktemp("hostile")
    overrides = [*tiny_overrides(write_images(folder / "images.npz"), folder / "run"), "trainer.max_steps=1"]
    assert run_command("train", *overrides, "evaluation=null").code == 0
    return folder / "run"


@pytest.fixture
def spoiled(trained, tmp_path) -> Callable[..., Path]:
    """Return a function that writes a copy of a checkpoint with another value under a dotted name."""

    def spoil(name: str, value: Any) -> Path:
        checkpoint = torch.load(trained / "checkpoints" / "last.ckpt", weights_only=True)
        *parents, last = name.split(".")
        node = checkpoint
        for key in parents:
            node = node[key]
        if value is REMOVED:
            del node[last]
        else:
            node[last] = value
        torch.save(checkpoint, tmp_path / "spoiled.ckpt")
        return tmp_path / "spoiled.ckpt"

    return spoil


def evaluate(ckpt: Path, folder: Path) -> Finished:
    return run_command("evaluate", f"ckpt={ckpt}", f"output_dir={folder}", f"out={folder}/metrics.json", *MEASURE)


@pytest.mark.parametrize(
    ("place", "target"),
    [
        ("model.flow.preprocess", "nf_mnist.data.torchvision_set"),
        ("model.flow.preprocess", "nf_mnist.data.array_file"),
        ("model.flow.preprocess", "nf_mnist.data.mnist"),
        ("data.source", "nf_mnist.flows.preprocessing"),
        ("data.source", "nf_mnist.data.read_picture"),
        ("data.source", "nf_mnist.data.array_event_shape"),
    ],
)
def test_a_model_names_flows_only_and_data_name_readers_only(place, target, spoiled):
    path = spoiled(f"config.{place}", {"_target_": target, "path": "/nosuch"})
    with pytest.raises(CheckpointError, match=f"{path} is refused: .*{target}.*") as refusal:
        load_trained(path)
    assert "trust" not in str(refusal.value), "nf_mnist as a whole should not be trusted"


@pytest.mark.parametrize("given", [{}, {"download": True}])
@pytest.mark.parametrize("nested", [False, True])
def test_a_checkpoint_downloads_nothing_and_makes_no_folder(given, nested, spoiled, tmp_path, monkeypatch):
    monkeypatch.setattr("torchvision.datasets.MNIST.download", lambda self: pytest.fail("it downloads"))
    root = tmp_path / "elsewhere" / "deeper"
    node = {"_target_": "nf_mnist.data.torchvision_set", "name": "FashionMNIST", "root": str(root), **given}
    path = spoiled("config.data.source", {"_target_": "nf_mnist.data.array_file", "path": node} if nested else node)
    finished = evaluate(path, tmp_path / "out")
    assert (finished.code, len(finished.err.splitlines())) == (1, 1), finished.err
    assert "a checkpoint downloads nothing" in finished.err
    assert not root.parent.exists()


def test_only_sets_like_mnist_are_read_through_torchvision(tmp_path):
    for name in ("CIFAR10", "utils", "", "nosuch"):
        with pytest.raises(ConfigError, match=r"unknown set .* choose one of MNIST, FashionMNIST, KMNIST"):
            torchvision_set(name, str(tmp_path))


def test_data_that_are_no_images_are_said_in_a_line(spoiled, tmp_path):
    node = {"_target_": "nf_mnist.data.mnist", "_partial_": True}
    finished = evaluate(spoiled("config.data.source", node), tmp_path / "out")
    assert (finished.code, len(finished.err.splitlines())) == (1, 1), finished.err
    assert "data.source must give training and test images, an ImageSet" in finished.err


@pytest.mark.parametrize(
    ("name", "value", "said"),
    sampled(
        [
            ("config.trainer", REMOVED, "config.trainer.accumulate_grad_batches is missing"),
            ("config.trainer", 5, "config.trainer.accumulate_grad_batches cannot be read"),
            ("config.name", REMOVED, "config.name is missing"),
            ("config.name", [1], "config.name is [1]"),
            ("config.seed", REMOVED, "config.seed is missing"),
            ("config.seed", "x", "config.seed is 'x'"),
            ("config.data", REMOVED, "has a configuration whose data is None"),
            ("config.data", "x", "has a configuration whose data is 'x'"),
            ("config.data.batch_size", 2.5, "data.batch_size must be a whole number"),
            ("config.data.n_validation", "x", "data.n_validation must be a number"),
            ("config.evaluation", 5, "has a configuration whose evaluation is 5"),
            ("config.evaluation", {"split": "test", "n_draws": "x"}, "evaluation.n_draws must be a whole number"),
            ("config.evaluation", {"split": "test", "seed": None}, "evaluation.seed must be a whole number"),
            ("config.evaluation", {"split": "test", "n_images": [1]}, "evaluation.n_images must be a whole number"),
            ("global_step", "many", "global_step is 'many'"),
            ("hardware", ["x"], "hardware is ['x']"),
            ("callbacks", 3, "callbacks.Timer.time_elapsed.train cannot be read"),
            ("callbacks", {"Timer": {"time_elapsed": {"train": "x"}}}, "callbacks.Timer.time_elapsed.train is 'x'"),
        ]
    ),
)
def test_odd_fields_are_refused_before_anything_is_measured(name, value, said, spoiled, tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation, "evaluate_flow", lambda *given, **settings: pytest.fail("it measures"))
    path = spoiled(name, value)
    finished = evaluate(path, tmp_path / "out")
    assert (finished.code, len(finished.err.splitlines())) == (1, 1), finished.err
    assert finished.err.startswith(f"error: {path} has a ")
    assert said in finished.err


@pytest.mark.parametrize(
    "name", sampled(["config.evaluation", "hardware", "global_step", "nf_mnist_version", "callbacks"])
)
def test_fields_that_nothing_needs_may_be_missing(name, spoiled, tmp_path):
    path = spoiled(name, REMOVED)
    for command in ("sample", "export"):
        finished = run_command(command, f"ckpt={path}", f"out={tmp_path}/{command}", f"output_dir={tmp_path}/o")
        assert finished.code == 0, finished.err


@pytest.mark.filterwarnings("ignore")  # torch warns of kinds of tensors that few use
@pytest.mark.parametrize(
    "spoil",
    [
        Tensor.bool,
        lambda value: value.to(torch.int8),
        Tensor.long,
        lambda value: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8),
        lambda value: torch.nested.nested_tensor([value.flatten(), torch.zeros(2)]),
    ],
    ids=["bool", "int8", "int64", "quantized", "nested"],
)
def test_weights_that_would_be_rounded_are_refused(spoil, trained, spoiled):
    checkpoint = torch.load(trained / "checkpoints" / "last.ckpt", weights_only=True)
    name = list(checkpoint["state_dict"])[-2]
    path = spoiled("state_dict", checkpoint["state_dict"] | {name: spoil(checkpoint["state_dict"][name])})
    with pytest.raises(CheckpointError, match=f"{path} is damaged or foreign: .* is no dense tensor of"):
        load_trained(path)


def test_other_floats_are_weights(trained, spoiled):
    checkpoint = torch.load(trained / "checkpoints" / "last.ckpt", weights_only=True)
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        state = {name: value.to(dtype) for name, value in checkpoint["state_dict"].items() if value.is_floating_point()}
        load_trained(spoiled("state_dict", checkpoint["state_dict"] | state))


def test_a_terminal_obeys_no_name_of_a_file():
    hostile = "a\x1b[31mred\x1b]0;title\x07\x9b2J\u202eb\udc80"
    for text in (printable(hostile), one_line(CheckpointError(hostile)), plain(hostile)[0].plain):
        assert text.isprintable()
        assert r"a\x1b[31mred\x1b]0;title\x07\x9b2J\u202eb" in text
    for good in ("path/ü ñ 数\u3000é", "a[/x]b", "one\ntwo"):
        assert printable(good) == good


def test_a_command_escapes_what_a_file_holds(spoiled, tmp_path):
    checkpoint = spoiled("config.model.flow._target_", "\x1b[31mos\x1b[0m.system")
    assert "\x1b" not in evaluate(checkpoint, tmp_path / "out").err
    checkpoint = spoiled("state_dict", {"flow.\x1b[31mred": torch.zeros(1)})
    assert "\x1b" not in evaluate(checkpoint, tmp_path / "out").err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    for name in ("pipe.ckpt", "SHA256SUMS"):
        os.mkfifo(tmp_path / name)
    with pytest.raises(CheckpointError, match=r"there is no checkpoint .*pipe.ckpt; it is a pipe or a device"):
        load_trained(tmp_path / "pipe.ckpt")
    with pytest.raises(DataError, match=r"cannot read the data file .*SHA256SUMS: it is no regular file"):
        mnist(tmp_path)


def test_a_folder_is_refused_with_the_checkpoint_in_it(trained, tmp_path):
    best = trained / "checkpoints" / "best.ckpt"
    for folder in (trained, trained / "checkpoints"):
        with pytest.raises(CheckpointError) as refusal:
            load_trained(folder)
        assert str(refusal.value) == f"there is no checkpoint {folder}; it is a folder, in which there is {best}"
    with pytest.raises(CheckpointError, match=r"; it is a folder$"):
        load_trained(tmp_path)


@pytest.mark.parametrize("replaced", [True, False])
def test_the_record_of_an_evaluation_is_of_the_weights_that_were_measured(replaced, spoiled, tmp_path, monkeypatch):
    path, measure = spoiled("global_step", 7), evaluation.evaluate_flow

    def meddling(*given: Any, **settings: Any) -> Any:
        if replaced:
            spoiled("global_step", 99)
        else:
            path.unlink()
        return measure(*given, **settings)

    monkeypatch.setattr(evaluation, "evaluate_flow", meddling)
    finished = evaluate(path, tmp_path / "out")
    assert finished.code == 0, finished.err
    assert '"steps": 7' in (tmp_path / "out" / "metrics.json").read_text()
