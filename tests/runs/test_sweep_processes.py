"""Sweeps whose runs are processes: SLURM's script, and trainings that diverge or are killed, preempted or stopped."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from nf_mnist.runs.record import COMPLETED, DIVERGED, KILLED
from nf_mnist.runs.sweep import run_records
from nf_mnist.runs.sweep.report import sweep_rows
from tests.support.helpers import merge, run_command, tiny_overrides, write_images
from tests.support.processes import wait_until

optuna = pytest.importorskip("optuna", reason="needs nf_mnist[sweep]")
pytest.importorskip("submitit", reason="needs nf_mnist[sweep]")


@pytest.fixture
def images(tmp_path) -> Path:
    return write_images(tmp_path / "images.npz")


def write_program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_the_script_for_slurm_has_the_options_that_slurm_documents(images, tmp_path, monkeypatch):
    """The options and their formats are those of https://slurm.schedmd.com/sbatch.html."""
    programs = tmp_path / "bin"
    programs.mkdir()
    write_program(programs / "sbatch", f'cp "$1" {tmp_path}/script; exit 1')
    write_program(programs / "srun", "exit 1")
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    slurm = ["launcher=slurm", "hydra.launcher.partition=gpu", "hydra.launcher.timeout_min=90", "trainer.num_nodes=2"]
    submitted = ["-m", *tiny_overrides(images, tmp_path / "sweep"), *slurm, "trainer.devices=4", "seed=0,1,2"]
    refused = run_command("train", *submitted)
    assert (refused.code, refused.err.splitlines()[-1].startswith("error: ")) == (1, True)
    lines = (tmp_path / "script").read_text().splitlines()
    options = dict(line.removeprefix("#SBATCH --").partition("=")[::2] for line in lines if line.startswith("#SBATCH"))
    assert lines[0] == "#!/bin/bash"
    assert options["partition"] == "gpu"
    assert options["time"] == "90", "minutes"
    assert options["signal"] == "USR2@120", "to the steps of the job, two minutes before its end"
    assert options["array"] == "0-2%3"
    assert (options["nodes"], options["ntasks-per-node"], options["gpus-per-node"]) == ("2", "4", "4")
    assert (options["cpus-per-task"], options["mem"], options["open-mode"]) == ("8", "32GB", "append")
    assert options["requeue"] == "", "a flag"
    assert options["job-name"] == "train"
    assert any(line.startswith("srun ") and "submitit.core._submit" in line for line in lines)


def test_a_machine_without_slurm_is_a_one_line_error(images, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    refused = run_command("train", "-m", *tiny_overrides(images, tmp_path / "sweep"), "launcher=slurm", "seed=0,1")
    assert (refused.code, refused.err.count("\n")) == (1, 1)
    assert "needs sbatch" in refused.err


def sweep_command(images: Path, folder: Path, *overrides: str) -> list[str]:
    base = [*tiny_overrides(images, folder), "trainer.max_steps=150", "callbacks.last.every_n_train_steps=5"]
    base += ["trainer.val_check_interval=20", "evaluation.n_draws=1"]
    return [sys.executable, "-m", "nf_mnist.train", "-m", *merge(base, overrides)]


def start_sweep(images: Path, folder: Path, *overrides: str) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(folder.parent)}
    output = folder.with_suffix(".txt").open("w")
    return subprocess.Popen(sweep_command(images, folder, *overrides), stdout=output, stderr=output, env=environment)


def wait_for_run(folder: Path, *overrides: str) -> int:
    """Wait until a run with these overrides has written a checkpoint; return the id of its process."""
    found: list[int] = []

    def look() -> bool:
        for name, record in run_records(folder).items():
            is_training = record.get("status") == "running" and (folder / name / "checkpoints" / "last.ckpt").exists()
            if is_training and set(overrides) <= set(record["overrides"]):
                found.append(record["pid"])
        return bool(found)

    wait_until(look)
    return found[0]


@pytest.mark.slow
def test_twelve_jobs_of_which_some_diverge_one_is_killed_and_some_are_refused(tmp_path):
    images, folder = write_images(tmp_path / "images.npz", n=400), tmp_path / "sweep"
    overrides = ["model.flow.hidden_channels=2,3,0", "optimizer.lr=0.001,0.002,0.003,1e+30"]
    process = start_sweep(images, folder, *overrides, "launcher=joblib")
    os.kill(wait_for_run(folder, "model.flow.hidden_channels=3", "optimizer.lr=0.001"), signal.SIGKILL)
    assert process.wait(1200) == 1
    rows = sweep_rows(folder)
    assert len(rows) == 12
    for row in rows:
        if row["model.flow.hidden_channels"] == "0":
            assert row["status"] == "refused"
            assert "model.flow.hidden_channels must be" in row["cause"]
        elif row["optimizer.lr"] == "1e+30":
            assert row["status"] == DIVERGED
            assert "not finite" in row["cause"]
        elif (row["model.flow.hidden_channels"], row["optimizer.lr"]) == ("3", "0.001"):
            assert (row["status"], "SIGKILL" in row["cause"]) == (KILLED, True)
        else:
            assert row["status"] == COMPLETED, row
            assert row["test bpd"] > 0
    finished = {path: path.stat().st_mtime_ns for path in folder.glob("*/metrics.json")}
    assert start_sweep(images, folder, *overrides).wait(1200) == 1, "those that are refused are refused again"
    assert all(path.stat().st_mtime_ns == when for path, when in finished.items())
    assert not [row for row in sweep_rows(folder) if row["status"] == KILLED]


@pytest.mark.slow
def test_a_preempted_job_is_queued_again_and_goes_on(tmp_path):
    """Submitit's local executor handles the signal as it does under SLURM."""
    images, folder = write_images(tmp_path / "images.npz", n=400), tmp_path / "sweep"
    process = start_sweep(images, folder, "launcher=submitit_local", "seed=0", "trainer.max_steps=400")
    child = wait_for_run(folder, "seed=0")
    parent = int(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(parent, signal.SIGUSR2)
    assert process.wait(600) == 0, (folder.with_suffix(".txt")).read_text()
    (record,) = run_records(folder).values()
    assert record["pid"] != child
    output = next(folder.glob("*/output.txt")).read_text()
    assert "stopped by a signal at step" in output
    assert output.count("parameters on") == 2


@pytest.mark.slow
def test_a_search_that_is_interrupted_goes_on(tmp_path):
    images, folder = write_images(tmp_path / "images.npz", n=400), tmp_path / "sweep"
    overrides = ["sweep=optuna_resflow", "hydra.sweeper.n_trials=3", "trainer.max_steps=200"]
    process = start_sweep(images, folder, *overrides)
    wait_for_run(folder)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143
    (record,) = run_records(folder).values()
    assert record["status"] == "interrupted"
    assert start_sweep(images, folder, *overrides).wait(1200) == 0, folder.with_suffix(".txt").read_text()
    records = run_records(folder).values()
    assert [each["status"] for each in records] == [COMPLETED] * 3
    study = optuna.load_study(study_name="tiny", storage=f"sqlite:///{folder}/study.db")
    assert study.best_value == min(each["val_loss"] for each in records)
