"""A training beside other processes computes with fewer threads, says so, and records it."""

import re

import pytest
import torch

from nf_mnist import cores
from nf_mnist.checkpoints.reading import read_checkpoint
from nf_mnist.cores import CoreTimes
from nf_mnist.runs.record import read_record
from nf_mnist.training.callbacks import ShareCores
from tests.support.helpers import run_command, tiny_overrides, write_images

SETTINGS = ("trainer.max_steps=3", "evaluation=null", "callbacks.progress.every_n_steps=1")


@pytest.fixture
def busy(monkeypatch):
    """Give torch two threads on two cores, of which others use one."""
    before, looks = torch.get_num_threads(), iter(range(0, 10**6, 10))
    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda pid: {0, 1}, raising=False)
    monkeypatch.setattr(cores, "SECONDS_OF_FIRST_LOOK", 0)
    monkeypatch.setattr(cores, "read_core_times", lambda: CoreTimes(now := next(looks), now, 0))
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("is_exact", [False, True])
def test_a_training_gives_way_to_others_unless_it_must_be_exact(is_exact, busy, tmp_path):
    overrides = tiny_overrides(write_images(tmp_path / "images.npz"), tmp_path / "run")
    ended = run_command("train", *overrides, *SETTINGS, f"trainer.deterministic={str(is_exact).lower()}")
    torch.use_deterministic_algorithms(False)
    assert ended.code == 0, ended.err
    expected = 2 if is_exact else 1
    assert bool(re.search(r"images/s, 1 of 2 threads beside other processes, .* left", ended.err)) != is_exact
    record = read_record(tmp_path / "run")
    assert (record["threads"], record["fewest_threads"]) == (2, expected)
    states = read_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")["callbacks"]
    assert states["ShareCores"] == {"fewest_threads": expected}
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("is_compiled", [False, True])
def test_compiled_networks_keep_the_threads_that_they_were_compiled_for(is_compiled, busy, monkeypatch):
    module, callback = torch.nn.Linear(1, 1), ShareCores()
    if is_compiled:
        module.compile()
    callback.on_fit_start(None, module)
    assert torch.get_num_threads() == 1
    monkeypatch.setattr(cores, "read_core_times", lambda: CoreTimes(10**7, 0, 0))
    monkeypatch.setattr(cores, "SECONDS_BETWEEN_LOOKS", -(10**9))
    callback.on_train_batch_end(None, module, None, None, 0)
    assert torch.get_num_threads() == (1 if is_compiled else 2)
    callback.teardown(None, module, "fit")


def test_a_resumed_run_knows_the_fewest_threads_of_all_its_parts():
    callback = ShareCores()
    assert (callback.fewest, callback.state_dict()) == (None, {"fewest_threads": 0})
    callback.load_state_dict({"fewest_threads": 1})
    assert callback.state_dict() == {"fewest_threads": 1}
