"""An Optuna study that continues after an interruption."""

import warnings
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from nf_mnist.errors import MachineError, first_line
from nf_mnist.runs.record import DIVERGED, read_record
from nf_mnist.runs.sweep.names import run_name


def queue_unfinished_trials(sweeper: DictConfig, folder: Path) -> tuple[int, int]:
    """Queue again every trial whose run has no result.

    A run that completed or diverged has a result. A run that was killed, stopped or refused, or that failed, has none.

    Args:
        sweeper: Hydra's node of the Optuna sweeper.
        folder: The folder of the sweep.

    Returns:
        How many trials remain to be run, and how many trials the study has begun before.

    Raises:
        MachineError: If the storage of the study cannot be used.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = _load_study(sweeper)
    if study is None:
        return int(sweeper.n_trials), 0
    states = optuna.trial.TrialState
    trials = study.get_trials()
    n_done = sum(trial.state == states.COMPLETE for trial in trials)
    completed_runs = {_run_name(trial) for trial in trials if trial.state == states.COMPLETE}
    queued = [trial.system_attrs["fixed_params"] for trial in trials if trial.state == states.WAITING]
    for trial in (trial for trial in trials if trial.state in (states.FAIL, states.RUNNING)):
        if trial.state == states.RUNNING:  # its process has gone: this process holds the lock of the folder
            study.tell(trial.number, state=states.FAIL)
        if _run_name(trial) in completed_runs:
            continue
        if read_record(folder / _run_name(trial)).get("status") == DIVERGED:
            n_done += 1
        elif trial.params not in queued:
            queued.append(trial.params)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                study.enqueue_trial(trial.params)
    return max(0, sweeper.n_trials - n_done), len(trials)


def _load_study(sweeper: DictConfig) -> Any:
    """Return the study of a sweeper, or None if it has not begun."""
    import optuna

    try:
        return optuna.load_study(study_name=sweeper.study_name, storage=sweeper.storage)
    except KeyError:
        return None
    except Exception as error:  # SQLAlchemy, a database driver or a server may raise anything
        raise MachineError(f"cannot use the study {sweeper.storage}: {first_line(error)}") from error


def _run_name(trial: Any) -> str:
    """Return the name of a trial's run.

    The sweeper stores the settings that it searches as parameters of the trial, and all others as attributes.
    """
    return run_name(f"{key}={value}" for key, value in {**trial.params, **trial.user_attrs}.items())
