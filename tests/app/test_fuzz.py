"""Whatever is given, a command does its work or says in one line what is wrong."""

import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from nf_mnist import load_flow
from nf_mnist.errors import CheckpointError
from tests.support.damage import damaged
from tests.support.helpers import compose_config, first_difference, run_command, tiny_overrides, write_images

VALUES = (
    "-1",
    "0",
    "1",
    "2",
    "3",
    "1.5",
    "1e-3",
    "nan",
    "inf",
    "-inf",
    "null",
    "abc",
    "true",
    "''",
    "[]",
    "[1,2]",
    "{}",
)
GROUPS = ("seed", "data", "model", "optimizer", "scheduler", "trainer", "callbacks", "logger", "evaluation")
# What would train for ever, start other processes, or say where things are.
LEFT_OUT = ("max_steps", "max_epochs", "max_time", "devices", "num_nodes", "source", "dirpath", "save_dir", "root_dir")


def keys(node: Any, prefix: str = "") -> Iterator[str]:
    """Yield the key of every setting of a configuration."""
    for key, value in node.items():
        if isinstance(value, dict):
            yield from keys(value, f"{prefix}{key}.")
        elif not any(part in f"{prefix}{key}" for part in LEFT_OUT):
            yield f"{prefix}{key}"


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    return write_images(tmp_path_factory.mktemp("fuzz") / "images.npz")


@pytest.fixture(scope="module")
def settable(images) -> list[str]:
    cfg = OmegaConf.to_container(compose_config([*tiny_overrides(images, images.parent / "run"), "run_dir=x"]))
    return list(keys({group: cfg[group] for group in GROUPS}))


@pytest.mark.slow
@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_settings_take_a_step_or_are_refused_in_a_line(data, images, settable):
    chosen = data.draw(st.lists(st.tuples(st.sampled_from(settable), st.sampled_from(VALUES)), min_size=1, max_size=3))
    model = data.draw(st.sampled_from(["resflow", "hierarchical", "glow"]))
    overrides = {key: f"{key}={value}" for key, value in chosen}
    with tempfile.TemporaryDirectory() as folder:
        base = [*tiny_overrides(images, Path(folder) / "run", model), "trainer.max_steps=1"]
        mine = {text.partition("=")[0]: text for text in base} | overrides
        ended = run_command("train", *mine.values())
    if ended.code:
        last = ended.err.splitlines()[-1]
        assert (ended.code, last.startswith("error: ")) == (1, True), ended.err
        assert len(last) > len("error: ")
    assert "Traceback" not in ended.err


@pytest.fixture(scope="module")
def checkpoint(images) -> Path:
    """Return the checkpoint of a training."""
    overrides = [*tiny_overrides(images, images.parent / "run"), "trainer.max_steps=1", "evaluation=null"]
    assert run_command("train", *overrides).code == 0
    return images.parent / "run" / "checkpoints" / "last.ckpt"


@pytest.mark.parametrize("zipped", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_damaged_checkpoint_is_refused_or_its_weights_are_whole(zipped, checkpoint, tmp_path, monkeypatch):
    """100 files of each format; none may run code, which would end here in one of the calls that are forbidden."""
    good = torch.load(checkpoint, weights_only=True)
    torch.save(good, tmp_path / "good.ckpt", _use_new_zipfile_serialization=zipped)
    content, draw = (tmp_path / "good.ckpt").read_bytes(), random.Random(int(zipped))
    refusals = []
    flow = load_flow(tmp_path / "good.ckpt")
    for name in ("system", "popen", "remove", "unlink", "rename"):
        monkeypatch.setattr(os, name, lambda *given: pytest.fail(f"it called {given}"))
    for _ in range(100):
        (tmp_path / "bad.ckpt").write_bytes(damaged(content, draw))
        try:
            loaded = load_flow(tmp_path / "bad.ckpt")
        except CheckpointError as refusal:
            refusals.append(str(refusal))
        else:
            found, expected = loaded.state_dict(), flow.state_dict()
            if zipped:  # whose parts have checksums
                assert first_difference(found, expected) == ""
            else:
                assert {key: (value.shape, value.dtype) for key, value in found.items()} == {
                    key: (value.shape, value.dtype) for key, value in expected.items()
                }
    assert len(refusals) > 50
    assert all(str(tmp_path / "bad.ckpt") in text and "\n" not in text for text in refusals)
