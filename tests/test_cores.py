"""The number of threads follows the cores that other processes leave free."""

import subprocess
import sys
import time

import pytest
import torch

from nf_mnist import cores
from nf_mnist.app.progress import progress_bar
from nf_mnist.cores import CoreTimes, SharedCores, cores_of_others, fixed_threads, read_core_times


class Machine:
    """A machine of several cores; in each look ``others`` of them were busy with other processes for ten seconds."""

    def __init__(self):
        self.times, self.others = CoreTimes(0, 0, 0), 0.0

    def read(self):
        now, busy, own = self.times
        self.times = CoreTimes(now + 10, busy + 10 * (self.others + 1.5), own + 15)
        return self.times


@pytest.fixture
def machine(monkeypatch):
    """Return a machine of four cores, on which torch has four threads and ten seconds pass between two looks."""
    made, before = Machine(), torch.get_num_threads()
    monkeypatch.setattr(cores, "read_core_times", made.read)
    monkeypatch.setattr(cores.os, "sched_getaffinity", lambda pid: set(range(4)), raising=False)
    monkeypatch.setattr(cores.time, "monotonic", lambda: made.times.now + 3)
    monkeypatch.setattr(cores.time, "sleep", lambda seconds: None)
    torch.set_num_threads(4)
    yield made
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("others", "expected"), [(0, 4), (0.2, 4), (0.5, 3), (1, 3), (1.2, 3), (2, 2), (3, 1), (4, 1), (9, 1)]
)
def test_each_core_that_others_use_takes_a_thread(others, expected, machine):
    machine.others = others
    shared = SharedCores()
    assert torch.get_num_threads() == expected, "at the first look"
    machine.others = 0
    shared.adapt()
    assert torch.get_num_threads() == 4, "all again once they are free"
    machine.others = others
    shared.adapt()
    assert (torch.get_num_threads(), shared.fewest) == (expected, expected)
    assert shared.text() == ("" if expected == 4 else f"{expected} of 4 threads beside other processes")
    shared.restore()
    assert torch.get_num_threads() == 4


def test_a_process_with_fewer_threads_than_cores_keeps_them_while_enough_are_free(machine):
    torch.set_num_threads(2)
    for others, expected in ((0, 2), (2, 2), (3, 1)):
        machine.others = others
        shared = SharedCores()
        assert torch.get_num_threads() == expected
        shared.restore()


def test_looks_are_two_seconds_apart(machine, monkeypatch):
    shared = SharedCores()
    machine.others = 4
    monkeypatch.setattr(cores.time, "monotonic", lambda: machine.times.now + 1)
    shared.adapt()
    assert torch.get_num_threads() == 4


def test_nothing_changes_where_results_must_be_exact(machine):
    machine.others = 4
    with fixed_threads(3):
        SharedCores().adapt()
        assert torch.get_num_threads() == 3
    torch.use_deterministic_algorithms(True)
    try:
        SharedCores().adapt()
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.get_num_threads() == 4


def test_a_system_that_does_not_count_changes_nothing(machine, monkeypatch, tmp_path):
    monkeypatch.setattr(cores, "PROC_STAT", tmp_path / "stat")
    monkeypatch.setattr(cores, "read_core_times", read_core_times)
    assert read_core_times() is None
    SharedCores().adapt()
    assert torch.get_num_threads() == 4


def test_a_progress_bar_says_that_there_are_fewer_threads(machine, monkeypatch, capsys):
    machine.others = 2
    for _ in progress_bar("sampling")([1, 2]):
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == 4
    assert "sampling, 2 of 4 threads beside other processes" in capsys.readouterr().err


@pytest.mark.skipif(read_core_times() is None, reason="this system does not count as Linux does")
def test_a_busy_process_is_seen_and_this_one_is_not_counted():
    before = read_core_times()
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        time.sleep(0.6)
        after = read_core_times()
        busy.kill()
    assert cores_of_others(before, after) > 0.5
    assert cores_of_others(before, after._replace(busy=before.busy + 1, own=before.own + 1)) == 0
