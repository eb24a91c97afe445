"""The benchmark of a busy machine, rehearsed in seconds."""

import json
import sys

import pytest

from benchmarks.speed import busy_machine
from tools import from_results, speed_tables

SMALL = ("model.flow.hidden_channels=4", "model.flow.mlp_features=4", "data.batch_size=2", "data.n_validation=8")


def test_busy_processes_end_with_their_block():
    with busy_machine.busy_processes(2) as busy:
        assert [process.poll() for process in busy] == [None, None]
    assert all(process.poll() is not None for process in busy)


@pytest.mark.slow
def test_all_cases_are_rehearsed(tmp_path, monkeypatch):
    small = [text for override in SMALL for text in ("--override", override)]
    out = tmp_path / "results" / "busy_machine.json"
    monkeypatch.setattr(sys, "argv", ["x", "--repeats", "1", "--seconds", "2", *small, "--out", str(out)])
    busy_machine.main()
    rows = json.loads(out.read_text())["rows"]
    assert list(rows) == list(busy_machine.CASES)
    assert all(row[setting]["median"] > 0 for row in rows.values() for setting in busy_machine.SETTINGS)
    monkeypatch.setattr(from_results, "ROOT", tmp_path)
    assert speed_tables.busy_machine().count("\n") >= 2 + len(rows)
