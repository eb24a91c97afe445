"""The report of a sweep: a row for each run, and the command that repeats the best run."""

import csv
import json
import sys
from pathlib import Path

import pytest

from nf_mnist.errors import ConfigError
from nf_mnist.runs.lock import lock_folder
from nf_mnist.runs.record import COMPLETED, KILLED, read_record, recorded, update_record
from nf_mnist.runs.sweep.report import report_sweep
from nf_mnist.sweep_report import main


@pytest.fixture
def sweep(tmp_path) -> Path:
    """Return a folder with the records of five runs: two completed, one failed, one running, one without a process."""
    for number, (width, scale) in enumerate([(32, "tanh"), (64, "tanh"), (32, "none"), (64, "none"), (128, "none")]):
        folder = tmp_path / f"run{number}"
        overrides = ["model=resflow", f"model.flow.hidden_channels={width}", f"model.flow.scale_activation={scale}"]
        update_record(folder, overrides=overrides, seconds=90.0)
        if number < 2:
            update_record(folder, overrides=[*overrides, f"output_dir={folder}", "ckpt=auto"])
            update_record(folder, status=COMPLETED, val_loss=900.0 - number, val_bpd=1.5 - number / 10)
            (folder / "metrics.json").write_text(json.dumps({"split": "test", "bpd": 1.6 - number / 10}))
    with pytest.raises(ZeroDivisionError), recorded(tmp_path / "run2", overrides):
        _ = 1 / 0
    update_record(tmp_path / "run3", status="running")
    update_record(tmp_path / "run4", status="running")
    return tmp_path


def test_the_report_has_a_row_for_each_run_and_the_best_command(sweep, capsys):
    with lock_folder(sweep / "run3", "run"):
        report_sweep(sweep)
    out = capsys.readouterr().out
    rows = list(csv.DictReader((sweep / "report.csv").open()))
    assert [row["run"] for row in rows][:2] == ["run1", "run0"], "the best first"
    by_name = {row["run"]: row for row in rows}
    assert by_name["run0"]["test bpd"] == "1.6"
    assert by_name["run0"]["minutes"] == "1.5"
    assert (by_name["run2"]["status"], by_name["run2"]["cause"]) == ("failed", "division by zero")
    assert by_name["run3"]["status"] == "running"
    assert (by_name["run4"]["status"], by_name["run4"]["cause"]) == (KILLED, "its process ended without a word")
    assert "model" not in rows[0], "it is the same in all runs"
    assert "ckpt" not in rows[0], "it is no setting of a run"
    assert f"rerun={sweep}/run1" in out
    for text in ("hidden_channels", "division by zero", "2 of 5 runs completed", "1.4"):
        assert text in out
    assert (sweep / "report.png").stat().st_size > 1000
    assert json.loads((sweep / "report.json").read_text())["best"] == "run1"


def test_runs_of_which_some_have_no_bits_are_compared_in_nats(sweep, capsys):
    record = read_record(sweep / "run0")
    del record["val_bpd"]
    (sweep / "run0" / "run.json").write_text(json.dumps(record))
    report_sweep(sweep)
    out = capsys.readouterr().out
    assert "best: run1, val loss 899.0" in out
    assert "val bpd" in out, "of the best, in the table"
    assert (sweep / "report.png").stat().st_size > 1000


def test_a_setting_that_some_runs_leave_at_its_default_is_compared(sweep):
    update_record(sweep / "run0", overrides=["model=resflow", "model.flow.hidden_channels=32"])
    report_sweep(sweep)
    assert (sweep / "report.png").stat().st_size > 1000


def test_the_report_of_an_empty_folder_is_a_one_line_error(tmp_path, monkeypatch, capsys):
    with pytest.raises(ConfigError, match="holds no runs"):
        report_sweep(tmp_path)
    monkeypatch.setattr(sys, "argv", ["sweep_report", str(tmp_path)])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err == f"error: {tmp_path} holds no runs of a sweep\n"
