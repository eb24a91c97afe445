"""A sweep makes only missing runs. The runs here are pretended: they end at once, as their learning rate says."""

import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from nf_mnist.errors import MachineError
from nf_mnist.runs.lock import lock_folder
from nf_mnist.runs.record import COMPLETED, DIVERGED, FAILED, KILLED, update_record
from nf_mnist.runs.sweep import job, run_name, run_records
from nf_mnist.runs.sweep.names import settings
from nf_mnist.runs.sweep.report import sweep_rows
from nf_mnist.runs.sweep.study import queue_unfinished_trials
from tests.support.helpers import fit, merge, run_command, tiny_overrides, write_images

optuna = pytest.importorskip("optuna", reason="needs nf_mnist[sweep]")
pytest.importorskip("submitit", reason="needs nf_mnist[sweep]")
RATES = "optimizer.lr=1e-4,2e-4,3e-4,4e-4,5e-4,6e-4,7e-4,8e-4,9e-4,1e-3,2e-3,3e-3"


@pytest.fixture
def images(tmp_path) -> Path:
    return write_images(tmp_path / "images.npz")


def rate_of(overrides: Sequence[str]) -> float:
    return next(float(text.partition("=")[2]) for text in overrides if text.startswith("optimizer.lr="))


def pretend(folder: Path, overrides: Sequence[str], environment: dict[str, str]) -> tuple[int, int]:
    """Pretend to train: rate 1e-4 diverges, 2e-4 is killed the first time, 3e-4 is refused, and others complete."""
    update_record(folder, overrides=list(overrides))
    rate = rate_of(overrides)
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
    """Replace training by :func:`pretend`; return the list of the rates of started runs."""
    started: list[float] = []

    def train(folder: Path, overrides: Sequence[str], environment: dict[str, str]) -> tuple[int, int]:
        started.append(rate_of(overrides))
        return pretend(folder, overrides, environment)

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


@pytest.mark.parametrize(
    "overrides",
    [["model=resflow,cp3"], ["sweep=grid_resflow", "model.norm=none,actnorm", "model.flow.scale_activation=tanh"]],
)
def test_a_sweep_without_a_name_keeps_all_its_runs_in_one_folder(overrides, pretended, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    finished = run_command("train", "-m", *overrides, "optimizer.lr=4e-4")
    assert finished.code == 0, finished.err
    assert len(pretended) == 2
    (folder,) = {path.parent for path in tmp_path.rglob("sweep.json")}
    assert len(run_records(folder)) == 2
    assert len(list(tmp_path.rglob("run.json"))) == 2


# Of the search of resflow, one setting with six values is left.
SEARCH = [
    "optimizer.lr=choice(1e-4,2e-4,3e-4,4e-4,5e-4,6e-4)",
    "optimizer.matrix_lr=0.02",
    "model.flow.scale_activation=tanh",
]
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


def test_a_storage_that_cannot_be_used_is_a_named_error(tmp_path):
    sweeper = OmegaConf.create({"study_name": "s", "storage": "sqlite:////nowhere/at/all.db", "n_trials": 5})
    with pytest.raises(MachineError, match="cannot use the study sqlite"):
        queue_unfinished_trials(sweeper, tmp_path)


def test_a_second_process_on_a_sweep_is_refused_with_the_pid_of_the_first(images, tmp_path, pretended):
    command = ["-m", *tiny_overrides(images, tmp_path / "sweep"), "optimizer.lr=4e-4"]
    with lock_folder(tmp_path / "sweep", "sweep"):
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


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"overrides": 3}', '{"overrides": [4]}', "[" * 100_000])
def test_a_damaged_sweep_json_refuses_the_sweep(content, images, tmp_path, pretended):
    base = ["-m", *tiny_overrides(images, tmp_path / "sweep")]
    update_record(tmp_path / "sweep" / "0123456789", overrides=["optimizer.lr=4e-4"])
    if content is not None:
        (tmp_path / "sweep" / "sweep.json").write_text(content)
    refused = run_command("train", *base, "optimizer.lr=5e-4")
    assert (refused.code, refused.err.count("\n"), refused.err[:6]) == (1, 1, "error:"), refused.err
    assert "sweep.json" in refused.err
    assert pretended == []


@pytest.mark.parametrize(
    "record",
    [
        *("[]", "", "3", '{"status": "completed"}', '{"overrides": 3}', '{"status": ["x"], "seconds": "x"}'),
        *('{"threads": 0}', '{"threads": 1e9}', '{"seconds": NaN}', f'{{"val_loss": {10**400}}}'),
    ],
)
def test_a_damaged_record_is_one_failed_row(record, images, tmp_path, pretended):
    base = ["-m", *tiny_overrides(images, tmp_path / "sweep")]
    damaged = tmp_path / "sweep" / "0123456789"
    damaged.mkdir(parents=True)
    (damaged / "run.json").write_text(record)
    (damaged / "metrics.json").write_text('{"bpd": "x"}')
    update_record(tmp_path / "sweep" / "1123456789", status=KILLED, overrides=["optimizer.lr=4e-4"])
    (tmp_path / "sweep" / "sweep.json").write_text(
        json.dumps({"overrides": settings([*tiny_overrides(images, tmp_path), "optimizer.lr=4e-4,5e-4"])})
    )
    ended = run_command("train", *base, "optimizer.lr=4e-4,5e-4")
    assert ended.code == 1
    assert ended.err.splitlines()[-1] == f"error: 2 of 4 runs in {tmp_path}/sweep have no result; the table says why"
    assert pretended == [4e-4, 5e-4]
    rows = {row["run"]: row for row in sweep_rows(tmp_path / "sweep")}
    assert (rows["0123456789"]["status"], "damaged" in rows["0123456789"]["cause"]) == (FAILED, True)


@pytest.mark.parametrize("override", ["ckpt=auto", "rerun=elsewhere"])
def test_a_sweep_refuses_settings_of_a_single_run(override, images, tmp_path, pretended):
    refused = run_command("train", "-m", *tiny_overrides(images, tmp_path / "sweep"), "optimizer.lr=4e-4", override)
    assert (refused.code, refused.err.count("\n")) == (1, 1)
    assert f"leave out {override}" in refused.err
    assert not pretended
    assert not (tmp_path / "sweep").exists()


def test_a_report_that_fails_hides_no_run_without_a_result(images, tmp_path, pretended, monkeypatch):
    def fails(folder):
        raise ValueError("no picture")

    monkeypatch.setattr("nf_mnist.runs.sweep.folder.report_sweep", fails)
    ended = run_command("train", "-m", *tiny_overrides(images, tmp_path / "sweep"), "optimizer.lr=1e-4,4e-4")
    assert ended.code == 1
    assert ended.err.splitlines()[-1].startswith("error: 1 of 2 runs")


def test_a_sweep_may_be_of_data_without_bits(images, tmp_path):
    overrides = ["sweep=base", "data.dequantizer=cp3", "data.count_log_det=false", "trainer.max_steps=2"]
    overrides += ["trainer.val_check_interval=1", "logger.tensorboard=null"]
    run = fit(merge(tiny_overrides(images, tmp_path / "run"), overrides))
    assert run.trainer.global_step == 2


def test_a_sweep_without_any_result_says_so(images, tmp_path, pretended):
    base = tiny_overrides(images, tmp_path / "sweep")[1:]
    search = ["optimizer.lr=choice(1e-4,3e-4)", *SEARCH[1:], "hydra.sweeper.n_trials=3"]
    finished = run_command("train", "-m", "sweep=random_resflow", *base, *search)
    assert finished.code == 1
    assert finished.err.splitlines()[-1].startswith("error: no run of this sweep has a result")
