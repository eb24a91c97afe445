"""The folder of a sweep: one owner, one set of settings, and what is left to do in it."""

import contextlib
import json
import shutil
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from nf_mnist.app.command import fail
from nf_mnist.checkpoints.writing import write_json
from nf_mnist.errors import ConfigError, MachineError, NFMnistError
from nf_mnist.runs.record import COMPLETED, lock_folder, read_record
from nf_mnist.runs.sweep.names import folder_override, key_of, settings
from nf_mnist.runs.sweep.study import queue_unfinished_trials


class SweepFolder(Callback):
    """Hydra's callback around a sweep: locks the folder before it, prints the table of its runs after it."""

    def __init__(self) -> None:
        self._held = contextlib.ExitStack()

    def __reduce__(self) -> tuple[type["SweepFolder"], tuple[()]]:
        return SweepFolder, ()  # what a launcher sends to other processes holds no lock

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Refuse a folder that is another sweep's or another process's; have Optuna do only what is missing."""
        # Hydra sets it for jobs alone, but the folder of a sweep, too, is named by what was chosen.
        HydraConfig.instance().set_config(config)
        try:
            _check_launcher(config.hydra.launcher)
            _check_overrides(config.hydra.overrides.task)
            folder = Path(config.hydra.sweep.dir)
            # Jobs are composed anew, and would name the folder by their own model.
            with read_write(config.hydra.overrides):
                config.hydra.overrides.hydra.append(folder_override("hydra.sweep.dir", folder))
            _check_settings(folder, settings(config.hydra.overrides.task))
            self._held.enter_context(lock_folder(folder, "sweep"))
            write_json(folder / "sweep.json", {"overrides": settings(config.hydra.overrides.task)})
            sweeper = config.hydra.sweeper
            if sweeper.get("storage") is not None:
                with read_write(sweeper), open_dict(sweeper):
                    sweeper.n_trials, n_begun = queue_unfinished_trials(sweeper, folder)
                    if sweeper.sampler.get("seed") is not None:
                        sweeper.sampler.seed += n_begun  # else the search would begin again with the same draws
        except (NFMnistError, OSError) as error:  # Hydra turns exceptions of callbacks into warnings
            fail(error)
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
            self._held.callback(signal.signal, signal.SIGTERM, signal.SIG_DFL)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Print and write the report; the exit status is 1 if a run has no result."""
        from nf_mnist.sweep_report import report

        folder = Path(config.hydra.sweep.dir)
        records = run_records(folder)
        missing = sum(record.get("status") != COMPLETED for record in records.values())
        try:
            report(folder)
        finally:  # Hydra makes warnings of what a callback raises; the status is to tell of runs without a result
            self._held.close()
            if missing:
                fail(MachineError(f"{missing} of {len(records)} runs in {folder} have no result; the table says why"))


def run_records(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the record of each run of a sweep, by the name of its folder."""
    return {path.parent.name: read_record(path.parent) for path in sorted(folder.glob("*/run.json"))}


def _check_overrides(given: Iterable[str]) -> None:
    """Refuse what is of a single run."""
    for text in given:
        if key_of(text) in ("ckpt", "rerun"):
            raise ConfigError(f"a sweep goes on with its runs by itself; leave out {text}")


def _check_settings(folder: Path, given: list[str]) -> None:
    """Refuse a folder that holds runs of a sweep with other settings."""
    if not run_records(folder):
        return
    began = json.loads((folder / "sweep.json").read_text())["overrides"]
    if sorted(began) != sorted(given):
        raise ConfigError(
            f"{folder} holds a sweep that began as: {' '.join(began)}; repeat those settings to go on with it, or "
            "choose another name= or output_dir="
        )


def _check_launcher(launcher: DictConfig) -> None:
    if OmegaConf.select(launcher, "n_jobs", default=1) < 1:
        raise ConfigError(f"hydra.launcher.n_jobs must be at least 1, got {launcher.n_jobs}")
    if launcher._target_.endswith("SlurmLauncher") and shutil.which("sbatch") is None:
        raise MachineError("launcher=slurm needs sbatch, which is not here; use it on a cluster's login node")
