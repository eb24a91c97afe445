"""The measurements of a GPU, rehearsed on the CPU; a part that fails does not stop the others."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu import __main__ as gpu
from benchmarks.gpu.parts import LIMITS, write_part
from tools import from_results, gpu_tables

ROOT = Path(gpu.__file__).parents[2]
TABLES = (gpu_tables.gpu_machine, gpu_tables.gpu_cases, gpu_tables.gpu_round_trips, gpu_tables.gpu_speed)


def test_all_parts_fit_into_the_time_that_a_card_is_lent_for():
    assert gpu.SECONDS <= 600
    assert max(LIMITS.values()) < gpu.SECONDS


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("pass", None),
        ("raise ValueError('no kernel')", "ValueError: no kernel"),
        ("import sys; sys.exit(3)", "it ended with status 3"),
        ("import time; time.sleep(60)", "it took longer than 1 s"),
    ],
)
def test_the_end_of_a_part_is_said_in_one_line(code, error):
    seconds = 1 if "sleep" in code else 60
    assert gpu._error_of([sys.executable, "-c", code], seconds) == error


def test_a_part_that_fails_keeps_its_rows_and_its_reason(tmp_path, monkeypatch):
    def fail_after_a_row(command, seconds):
        write_part(tmp_path / "gpu_speed.json", "running", {"glow": {"error": None}})
        return "it took longer than 230 s"

    monkeypatch.setattr(gpu, "_error_of", fail_after_a_row)
    assert gpu.run_part("speed", tmp_path, 230, rehearse=True) == "failed, it took longer than 230 s"
    found = json.loads((tmp_path / "gpu_speed.json").read_text())
    assert (found["status"], found["error"], list(found["rows"])) == ("failed", "it took longer than 230 s", ["glow"])
    assert gpu.run_part("speed", tmp_path, 0.5, rehearse=True) == "skipped, no time was left"


def test_without_a_gpu_nothing_is_measured():
    ended = subprocess.run([sys.executable, "-m", "benchmarks.gpu"], cwd=ROOT, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert "torch sees no GPU here; --rehearse" in ended.stderr


@pytest.mark.slow
def test_every_part_is_rehearsed_on_the_cpu(tmp_path, monkeypatch):
    results = {path: path.read_bytes() for path in (ROOT / "results").glob("gpu_*.json")}
    command = [
        sys.executable,
        "-m",
        "benchmarks.gpu",
        "--rehearse",
        "--seconds",
        "3600",
        "--out",
        str(tmp_path / "results"),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in LIMITS:
        found = json.loads((tmp_path / "results" / f"gpu_{name}.json").read_text())
        assert (found["status"], found["error"]) == ("completed", None), name
        assert found["rows"]
        assert not [row["error"] for row in found["rows"].values() if row.get("error")], name
    monkeypatch.setattr(from_results, "ROOT", tmp_path)
    for write in (*TABLES, gpu_tables.gpu_checks):
        assert "failed" not in write()
    assert results == {path: path.read_bytes() for path in (ROOT / "results").glob("gpu_*.json")}
