"""An Optuna study that goes on where it was interrupted."""

import warnings
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from nf_mnist.errors import MachineError
from nf_mnist.runs.record import DIVERGED, read_record
from nf_mnist.runs.sweep.names import run_name


def queue_unfinished_trials(sweeper: DictConfig, folder: Path) -> tuple[int, int]:
    """Queue every trial again whose run has no result; return how many are to be run, and how many were begun before.

    A run that diverged has its result, and so has one that completed; those that were killed, stopped, refused or
    failed have none.

    Args:
        sweeper: Hydra's node of the Optuna sweeper.
        folder: Of the sweep.

    Raises:
        MachineError: If the storage cannot be used.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.load_study(study_name=sweeper.study_name, storage=sweeper.storage)
    except KeyError:  # it has not begun
        return int(sweeper.n_trials), 0
    except Exception as error:  # SQLAlchemy's, a driver's, a server's
        raise MachineError(f"cannot use the study {sweeper.storage}: {str(error).splitlines()[0]}") from error
    states = optuna.trial.TrialState
    trials = study.get_trials()
    n_done = sum(trial.state == states.COMPLETE for trial in trials)
    settled = {_run(trial) for trial in trials if trial.state == states.COMPLETE}
    queued = [trial.system_attrs["fixed_params"] for trial in trials if trial.state == states.WAITING]
    for trial in (trial for trial in trials if trial.state in (states.FAIL, states.RUNNING)):
        if trial.state == states.RUNNING:  # of a process that is gone: the folder's lock is ours
            study.tell(trial.number, state=states.FAIL)
        if _run(trial) in settled:
            continue
        if read_record(folder / _run(trial)).get("status") == DIVERGED:
            n_done += 1
        elif trial.params not in queued:
            queued.append(trial.params)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                study.enqueue_trial(trial.params)
    return max(0, sweeper.n_trials - n_done), len(trials)


def _run(trial: Any) -> str:
    """Return the name of a trial's run: the sweeper keeps what it searches as parameters, all else as attributes."""
    return run_name(f"{key}={value}" for key, value in {**trial.params, **trial.user_attrs}.items())
