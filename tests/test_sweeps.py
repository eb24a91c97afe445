"""Sweeps: one folder, one owner, each run in a process of its own, and only what is missing done again."""

import csv
import json
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from _helpers import merge, run_command, tiny_overrides, write_images
from _processes import wait_until
from nf_mnist.errors import ConfigError, MachineError
from nf_mnist.runs import COMPLETED, DIVERGED, KILLED, hold, is_held, recorded, update_record
from nf_mnist.sweep_report import report, sweep_rows
from nf_mnist.sweeps import job, resources, run_name, run_records
from nf_mnist.sweeps.study import queue_unfinished_trials

optuna = pytest.importorskip("optuna", reason="needs nf_mnist[sweep]")
pytest.importorskip("submitit", reason="needs nf_mnist[sweep]")
RATES = "optimizer.lr=1e-4,2e-4,3e-4,4e-4,5e-4,6e-4,7e-4,8e-4,9e-4,1e-3,2e-3,3e-3"


@pytest.fixture
def images(tmp_path) -> Path:
    return write_images(tmp_path / "images.npz")


def test_a_run_is_named_by_its_settings_alone():
    name = run_name(["seed=0", "model=cp3"])
    assert name == run_name(["model=cp3", "output_dir=elsewhere", "seed=0", "launcher=joblib"])
    assert name != run_name(["model=cp3", "seed=1"])
    assert len(name) == 10


def test_a_folder_has_one_owner_who_is_named(tmp_path):
    with hold(tmp_path / "new", "sweep"):
        assert is_held(tmp_path / "new")
        with pytest.raises(MachineError, match=rf"a sweep that is under way: process {os.getpid()} on"):
            hold(tmp_path / "new", "sweep").__enter__()
    assert not is_held(tmp_path / "new")
    with hold(tmp_path / "new", "sweep"):
        pass


def test_the_lock_of_a_killed_process_is_free(tmp_path):
    lock = f"lock = filelock.FileLock({str(tmp_path / '.lock')!r}); lock.acquire()"
    code = f"import filelock, time; {lock}; print(1, flush=True); time.sleep(600)"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    process.stdout.readline()
    assert is_held(tmp_path)
    process.kill()
    process.wait()
    assert not is_held(tmp_path)


def launcher(**settings: int) -> OmegaConf:
    return OmegaConf.create(settings)


def trainer(accelerator: str = "auto", devices: int | str = 1) -> OmegaConf:
    return OmegaConf.create({"accelerator": accelerator, "devices": devices})


@pytest.fixture
def machine(monkeypatch, tmp_path) -> Callable[..., None]:
    """Return what says how many CPUs and which GPUs there seem to be."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(resources.tempfile, "tempdir", None)
    monkeypatch.setattr(resources, "SECONDS_BETWEEN_LOOKS", 0.01)

    def seem(n_cpus: int, *gpus: str) -> None:
        monkeypatch.setattr(resources, "_n_cpus", lambda: n_cpus)
        monkeypatch.setattr(resources, "visible_gpus", lambda: list(gpus))

    return seem


def test_jobs_share_the_threads(machine):
    machine(8)
    for given, threads in ((launcher(n_jobs=3), "2"), (launcher(n_jobs=20), "1"), (launcher(cpus_per_task=4), "4")):
        with resources.lease(given, trainer()) as environment:
            assert environment == {"OMP_NUM_THREADS": threads}
    with resources.lease(launcher(), trainer()) as environment:
        assert environment == {}, "one job has the whole machine"


def test_each_job_has_gpus_of_its_own_until_it_ends(machine):
    machine(8, "4", "5", "6")
    with resources.lease(launcher(), trainer()) as one, resources.lease(launcher(), trainer(devices=2)) as other:
        assert (one["CUDA_VISIBLE_DEVICES"], other["CUDA_VISIBLE_DEVICES"]) == ("4", "5,6")
    with resources.lease(launcher(), trainer(devices="auto")) as whole:
        assert whole["CUDA_VISIBLE_DEVICES"] == "4,5,6"
    with resources.lease(launcher(), trainer(accelerator="cpu")) as none:
        assert none == {}


def test_a_job_waits_for_a_free_part(machine):
    machine(2)
    taken: list[str] = []

    def work() -> None:
        with resources.lease(launcher(cpus_per_task=2), trainer()):
            taken.append("second")

    with resources.lease(launcher(cpus_per_task=2), trainer()):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join(0.3)
        taken.append("first")
    thread.join(10)
    assert taken == ["first", "second"]


def test_slurm_gives_out_its_parts_itself(machine, monkeypatch):
    machine(8, "0", "1")
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    with resources.lease(launcher(cpus_per_task=4), trainer()) as environment:
        assert environment == {}


# A sweep whose runs end at once, as their rate says


def rate_of(given: Sequence[str]) -> float:
    return next(float(text.partition("=")[2]) for text in given if text.startswith("optimizer.lr="))


def pretend(folder: Path, given: Sequence[str], environment: dict[str, str]) -> tuple[int, int]:
    """Stand in for the training of a run: 1e-4 diverges, 2e-4 is killed at first, 3e-4 is refused, others complete."""
    update_record(folder, overrides=list(given))
    rate = rate_of(given)
    with (folder / "output.txt").open("a") as output:
        output.write("begun\n")
    if rate == 2e-4 and (folder / "output.txt").read_text() == "begun\n":
        update_record(folder, status="running", pid=1)
        return -signal.SIGKILL, 1
    if rate == 3e-4:
        (folder / "output.txt").write_text("error: model.flow.hidden_channels must be a whole number, got 0\n")
        return 1, 1
    diverges = rate == 1e-4
    status, error = (DIVERGED, "the loss was not finite at step 7") if diverges else (COMPLETED, None)
    update_record(folder, status=status, error=error, val_loss=1000 * rate, val_bpd=rate, seconds=60.0, pid=1)
    return int(diverges), 1


@pytest.fixture
def pretended(monkeypatch) -> list[float]:
    """Let runs end at once; return the rates of those that were started."""
    started: list[float] = []

    def train(folder: Path, given: Sequence[str], environment: dict[str, str]) -> tuple[int, int]:
        started.append(rate_of(given))
        return pretend(folder, given, environment)

    monkeypatch.setattr(job, "_train", train)
    return started


def test_a_sweep_outlives_its_failures_and_does_only_what_is_missing(pretended, images, tmp_path):
    command = ["-m", *tiny_overrides(images, tmp_path / "sweep"), RATES]
    first = run_command("train", *command)
    assert first.code == 1
    assert first.err.splitlines()[-1] == (f"error: 3 of 12 runs in {tmp_path}/sweep have no result; the table says why")
    assert len(pretended) == 12
    rows = {float(row["optimizer.lr"]): row for row in sweep_rows(tmp_path / "sweep")}
    assert [rows[rate]["status"] for rate in (1e-4, 2e-4, 3e-4, 4e-4)] == [DIVERGED, KILLED, "refused", COMPLETED]
    assert rows[1e-4]["cause"] == "the loss was not finite at step 7"
    assert rows[2e-4]["cause"] == "killed by SIGKILL, maybe for want of memory"
    assert rows[3e-4]["cause"] == "model.flow.hidden_channels must be a whole number, got 0"
    assert next(iter(rows)) == 4e-4, "the best comes first"
    pretended.clear()
    second = run_command("train", *command)
    assert pretended == [2e-4, 3e-4], "what was killed, and what was refused"
    assert "2 of 12 runs" in second.err


# Of the search of resflow, one setting with six values is left.
SEARCH = ["optimizer.lr=choice(1e-4,2e-4,3e-4,4e-4,5e-4,6e-4)", "optimizer.matrix_lr=0.02", "model.flow.scale=tanh"]
SEARCH += ["trainer.gradient_clip_val=200"]


@pytest.mark.parametrize("kind", ["optuna", pytest.param("random", marks=pytest.mark.slow)])
def test_a_search_goes_on_where_it_was_interrupted(kind, pretended, images, tmp_path):
    command = ["-m", f"sweep={kind}_resflow", *tiny_overrides(images, tmp_path / "sweep")[1:], *SEARCH]
    states = optuna.trial.TrialState
    for n_trials in (3, 7, 7):
        finished = run_command("train", *command, f"hydra.sweeper.n_trials={n_trials}")
        study = optuna.load_study(study_name="tiny", storage=f"sqlite:///{tmp_path}/sweep/study.db")
        complete = [trial for trial in study.trials if trial.state == states.COMPLETE]
        assert all(trial.value == pytest.approx(1000 * float(trial.params["optimizer.lr"])) for trial in complete)
        assert len(study.trials) >= n_trials
        is_whole = all(record["status"] == COMPLETED for record in run_records(tmp_path / "sweep").values())
        assert finished.code == (0 if is_whole else 1), finished.err
    settled = [rate for rate in pretended if rate not in (2e-4, 3e-4)]
    assert len(settled) == len(set(settled)) > 1, "a run with a result is not made again"


def test_trials_without_a_result_are_queued_again_once(tmp_path):
    sweeper = OmegaConf.create({"study_name": "s", "storage": f"sqlite:///{tmp_path}/study.db", "n_trials": 5})
    assert queue_unfinished_trials(sweeper, tmp_path) == (5, 0), "it has not begun"
    study = optuna.create_study(study_name="s", storage=sweeper.storage)
    distribution = {"optimizer.lr": optuna.distributions.UniformDistribution(0, 1)}
    for status in (COMPLETED, DIVERGED, "failed", None):  # None: the process died, and the trial still runs
        trial = study.ask(distribution)
        trial.set_user_attr("seed", "0")
        folder = tmp_path / run_name([f"optimizer.lr={trial.params['optimizer.lr']}", "seed=0"])
        update_record(folder, status=status or "running")
        if status == COMPLETED:
            study.tell(trial, 1.0)
        elif status is not None:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
    for _ in range(2):
        assert queue_unfinished_trials(sweeper, tmp_path)[0] == 3, "one is complete, and one diverged"
        waiting = [trial for trial in study.get_trials() if trial.state == optuna.trial.TrialState.WAITING]
        assert len(waiting) == 2
    again = study.ask(distribution)
    assert again.params == study.get_trials()[2].params


def test_a_storage_that_cannot_be_used_is_a_sentence(tmp_path):
    sweeper = OmegaConf.create({"study_name": "s", "storage": "sqlite:////nowhere/at/all.db", "n_trials": 5})
    with pytest.raises(MachineError, match="cannot use the study sqlite"):
        queue_unfinished_trials(sweeper, tmp_path)


def test_a_second_process_on_a_sweep_is_refused_with_the_pid_of_the_first(images, tmp_path, pretended):
    command = ["-m", *tiny_overrides(images, tmp_path / "sweep"), "optimizer.lr=4e-4"]
    with hold(tmp_path / "sweep", "sweep"):
        refused = run_command("train", *command)
    assert (refused.code, refused.err.count("\n")) == (1, 1)
    assert f"process {os.getpid()} on" in refused.err
    assert run_command("train", *command).code == 0
    assert pretended == [4e-4]


def test_a_folder_serves_one_sweep(images, tmp_path, pretended):
    base = ["-m", *tiny_overrides(images, tmp_path / "sweep")]
    assert run_command("train", *base, "optimizer.lr=4e-4").code == 0
    refused = run_command("train", *base, "optimizer.lr=5e-4")
    assert (refused.code, refused.err.count("\n")) == (1, 1)
    assert "holds a sweep that began as" in refused.err
    assert run_command("train", *base, "launcher=basic", "optimizer.lr=4e-4").code == 0, "launchers may change"


def test_a_sweep_without_any_result_says_so(images, tmp_path, pretended):
    base = tiny_overrides(images, tmp_path / "sweep")[1:]
    search = ["optimizer.lr=choice(1e-4,3e-4)", *SEARCH[1:], "hydra.sweeper.n_trials=3"]
    finished = run_command("train", "-m", "sweep=random_resflow", *base, *search)
    assert finished.code == 1
    assert finished.err.splitlines()[-1].startswith("error: no run of this sweep has a result")


# The report


@pytest.fixture
def sweep(tmp_path) -> Path:
    """Return a folder with the records of five runs: two completed, one failed, one running, one dead."""
    for number, (width, scale) in enumerate([(32, "tanh"), (64, "tanh"), (32, "none"), (64, "none"), (128, "none")]):
        folder = tmp_path / f"run{number}"
        overrides = ["model=resflow", f"model.flow.hidden_channels={width}", f"model.flow.scale={scale}"]
        update_record(folder, overrides=overrides, seconds=90.0)
        if number < 2:
            update_record(folder, status=COMPLETED, val_loss=900.0 - number, val_bpd=1.5 - number / 10)
            (folder / "figures.json").write_text(json.dumps({"split": "test", "bpd": 1.6 - number / 10}))
    with pytest.raises(ZeroDivisionError), recorded(tmp_path / "run2", overrides):
        _ = 1 / 0
    update_record(tmp_path / "run3", status="running")
    update_record(tmp_path / "run4", status="running")
    return tmp_path


def test_the_report_has_a_row_for_each_run_and_the_best_command(sweep, capsys):
    with hold(sweep / "run3", "run"):
        report(sweep)
    out = capsys.readouterr().out
    rows = list(csv.DictReader((sweep / "report.csv").open()))
    assert [row["run"] for row in rows][:2] == ["run1", "run0"], "the best first"
    by_name = {row["run"]: row for row in rows}
    assert by_name["run0"]["test bpd"] == "1.6"
    assert by_name["run0"]["minutes"] == "1.5"
    assert (by_name["run2"]["status"], by_name["run2"]["cause"]) == ("failed", "division by zero")
    assert by_name["run3"]["status"] == "running"
    assert (by_name["run4"]["status"], by_name["run4"]["cause"]) == (KILLED, "its process ended without a word")
    assert "model" not in rows[0], "which is the same in all runs"
    assert f"rerun={sweep}/run1" in out
    for text in ("hidden_channels", "division by zero", "2 of 5 runs completed", "1.4"):
        assert text in out
    assert (sweep / "report.png").stat().st_size > 1000
    assert json.loads((sweep / "report.json").read_text())["best"] == "run1"


def test_the_report_of_nothing_is_a_sentence(tmp_path, monkeypatch, capsys):
    with pytest.raises(ConfigError, match="holds no runs"):
        report(tmp_path)
    monkeypatch.setattr(sys, "argv", ["sweep_report", str(tmp_path)])
    from nf_mnist.sweep_report import main

    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err == f"error: {tmp_path} holds no runs of a sweep\n"


# Launchers


def write_program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/bash\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_the_script_for_slurm_says_what_slurm_documents(images, tmp_path, monkeypatch):
    """Options and their forms as in https://slurm.schedmd.com/sbatch.html."""
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


def test_slurm_where_there_is_none_is_a_sentence(images, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    refused = run_command("train", "-m", *tiny_overrides(images, tmp_path / "sweep"), "launcher=slurm", "seed=0,1")
    assert (refused.code, refused.err.count("\n")) == (1, 1)
    assert "needs sbatch" in refused.err


# Real trainings


def sweep_command(images: Path, folder: Path, *given: str) -> list[str]:
    base = [*tiny_overrides(images, folder), "trainer.max_steps=150", "callbacks.last.every_n_train_steps=5"]
    base += ["trainer.val_check_interval=20", "evaluation.n_draws=1"]
    return [sys.executable, "-m", "nf_mnist.train", "-m", *merge(base, given)]


def start_sweep(images: Path, folder: Path, *given: str) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(folder.parent)}
    output = folder.with_suffix(".txt").open("w")
    return subprocess.Popen(sweep_command(images, folder, *given), stdout=output, stderr=output, env=environment)


def wait_for_run(folder: Path, *overrides: str) -> int:
    """Wait until a run with these overrides trains and has got to a checkpoint; return its process."""
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
    given = ["model.flow.hidden_channels=2,3,0", "optimizer.lr=0.001,0.002,0.003,1e+30"]
    process = start_sweep(images, folder, *given, "launcher=joblib")
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
    finished = {path: path.stat().st_mtime_ns for path in folder.glob("*/figures.json")}
    assert start_sweep(images, folder, *given).wait(1200) == 1, "those that are refused are refused again"
    assert all(path.stat().st_mtime_ns == when for path, when in finished.items())
    assert not [row for row in sweep_rows(folder) if row["status"] == KILLED]


@pytest.mark.slow
def test_a_preempted_job_is_queued_again_and_goes_on(tmp_path):
    """What SLURM's signal does, through submitit's local executor."""
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
    given = ["sweep=optuna_resflow", "hydra.sweeper.n_trials=3", "trainer.max_steps=200"]
    process = start_sweep(images, folder, *given)
    wait_for_run(folder)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143
    (record,) = run_records(folder).values()
    assert record["status"] == "interrupted"
    assert start_sweep(images, folder, *given).wait(1200) == 0, folder.with_suffix(".txt").read_text()
    records = run_records(folder).values()
    assert [each["status"] for each in records] == [COMPLETED] * 3
    study = optuna.load_study(study_name="tiny", storage=f"sqlite:///{folder}/study.db")
    assert study.best_value == min(each["val_loss"] for each in records)
