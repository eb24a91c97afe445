"""The folder of a sweep: it has one owner and one set of settings, and a repeated command adds only missing runs."""

import contextlib
import json
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from nf_mnist.app.command import fail
from nf_mnist.app.messages import one_line
from nf_mnist.checkpoints.writing import write_json
from nf_mnist.errors import ConfigError, MachineError
from nf_mnist.overrides import override
from nf_mnist.runs.lock import lock_folder
from nf_mnist.runs.record import COMPLETED, run_records
from nf_mnist.runs.sweep.devices import pass_devices_on
from nf_mnist.runs.sweep.names import key_of, settings
from nf_mnist.runs.sweep.report import report_sweep
from nf_mnist.runs.sweep.study import queue_unfinished_trials

SINGLE_RUN_KEYS = ("ckpt", "rerun")  # settings that a sweep does not take


class SweepFolder(Callback):
    """Hydra's callback around a sweep: locks its folder at the start, and prints the table of its runs at the end."""

    def __init__(self) -> None:
        self._at_end = contextlib.ExitStack()

    def __reduce__(self) -> tuple[type["SweepFolder"], tuple[()]]:
        return SweepFolder, ()  # launchers send the callback to other processes, which must not hold the lock

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Refuse a folder that another sweep or another process uses; let Optuna run only missing trials."""
        # Hydra sets the configuration for jobs only, but the folder's name depends on the chosen groups, too.
        HydraConfig.instance().set_config(config)
        try:
            self._prepare(config)
        except Exception as error:  # Hydra turns exceptions of callbacks into warnings, and would go on without a lock
            fail(error)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Print and write the report; exit with status 1 if a run has no result."""
        folder = Path(config.hydra.sweep.dir)
        records = run_records(folder)
        missing = sum(record.get("status") != COMPLETED for record in records.values())
        try:
            report_sweep(folder)
        except Exception as error:  # Hydra turns exceptions of callbacks into warnings
            if not missing:
                fail(error)
            print(f"error: {one_line(error)}", file=sys.stderr)
        finally:
            self._at_end.close()
        if missing:
            fail(MachineError(f"{missing} of {len(records)} runs in {folder} have no result; the table says why"))

    def _prepare(self, config: DictConfig) -> None:
        """Check the settings, lock the folder, write ``sweep.json`` and queue unfinished trials."""
        _check_launcher(config.hydra)
        _check_overrides(config.hydra.overrides.task)
        pass_devices_on()
        folder = Path(config.hydra.sweep.dir)
        # Jobs are composed anew, and would name the folder after their own model.
        with read_write(config.hydra.overrides):
            config.hydra.overrides.hydra.append(override("hydra.sweep.dir", folder))
        self._at_end.enter_context(lock_folder(folder, "sweep"))
        _check_same_sweep(folder, settings(config.hydra.overrides.task))
        write_json(folder / "sweep.json", {"overrides": settings(config.hydra.overrides.task)})
        sweeper = config.hydra.sweeper
        if sweeper.get("storage") is not None:
            with read_write(sweeper), open_dict(sweeper):
                sweeper.n_trials, n_begun = queue_unfinished_trials(sweeper, folder)
                if sweeper.sampler.get("seed") is not None:
                    sweeper.sampler.seed += n_begun  # otherwise the sampler would repeat its first draws


def _check_overrides(overrides: Iterable[str]) -> None:
    """Refuse settings that only a single run can have."""
    for text in overrides:
        if key_of(text) in SINGLE_RUN_KEYS:
            raise ConfigError(f"a sweep goes on with its runs by itself; leave out {text}")


def _check_same_sweep(folder: Path, overrides: list[str]) -> None:
    """Refuse a folder that holds runs of a sweep with other settings."""
    path = folder / "sweep.json"
    if not path.exists() and not run_records(folder):
        return
    try:
        began = json.loads(path.read_text())["overrides"]
        is_damaged = not isinstance(began, list) or not all(isinstance(text, str) for text in began)
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        is_damaged = True
    if is_damaged:
        raise ConfigError(
            f"{path}, which says how the sweep there began, is missing or damaged; choose another name= or output_dir="
        )
    if run_records(folder) and sorted(began) != sorted(overrides):
        raise ConfigError(
            f"{folder} holds a sweep that began as: {' '.join(began)}; repeat those settings to go on with it, or "
            "choose another name= or output_dir="
        )


def _check_launcher(node: DictConfig) -> None:
    """Check the numbers of jobs in Hydra's own node, and that what submits jobs is here."""
    for key in ("launcher.n_jobs", "sweeper.n_jobs"):
        if (n_jobs := OmegaConf.select(node, key, default=1)) < 1:
            raise ConfigError(f"hydra.{key} must be at least 1, got {n_jobs}")
    if node.launcher._target_.endswith("SlurmLauncher") and shutil.which("sbatch") is None:
        raise MachineError("launcher=slurm needs sbatch, which is not here; use it on a cluster's login node")
