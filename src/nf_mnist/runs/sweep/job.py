"""One job of a sweep: a run in its own process, so that a crash ends this run and no other."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from nf_mnist.errors import DivergenceError, NFMnistError, RunError
from nf_mnist.overrides import override
from nf_mnist.runs.lock import is_locked
from nf_mnist.runs.record import (
    COMPLETED,
    DIVERGED,
    FAILED,
    FINAL_STATUSES,
    KILLED,
    REFUSED,
    read_record,
    update_record,
)
from nf_mnist.runs.sweep.devices import Reservation, reserve_devices, take_devices_over
from nf_mnist.runs.sweep.names import run_name, settings

SECONDS_TO_STOP = 60


def run_job(cfg: DictConfig, overrides: Sequence[str]) -> float | NFMnistError:
    """Run the training of one job in its own process; resume a run that was interrupted.

    A run that has a result already is not repeated.

    Args:
        cfg: The configuration of the job.
        overrides: The overrides of the job, as Hydra's sweeper made them.

    Returns:
        The least validation loss in nats per image. For a run without a result, its error: a sweeper that only makes
        combinations would stop at an exception.

    Raises:
        DivergenceError: If the run diverged and the sweeper optimizes a metric.
        RunError: If the run has no result for another reason and the sweeper optimizes a metric.
    """
    hydra = HydraConfig.get()
    take_devices_over()
    folder = Path(hydra.sweep.dir) / run_name(overrides)
    is_first = os.environ.get("SLURM_PROCID", "0") == "0"  # on a cluster, a run may have several processes
    if is_first:
        _wait_for_owner(folder)
    if read_record(folder).get("status") not in FINAL_STATUSES:
        with reserve_devices(hydra.launcher, cfg.trainer) as reservation:
            exit_status, pid = _train(folder, settings(overrides), reservation)
        if is_first:
            _complete_record(folder, settings(overrides), exit_status, pid)
    record = read_record(folder)
    print(f"{folder.name}: {describe_end(record)}", flush=True)
    if record.get("status") == COMPLETED:
        return float(record["val_loss"])
    error = (DivergenceError if record.get("status") == DIVERGED else RunError)(f"{folder}: {record.get('error')}")
    if "direction" in hydra.sweeper:
        raise error
    return error


def describe_end(record: Mapping[str, Any]) -> str:
    """Say in one line how a run ended."""
    if record.get("status") != COMPLETED:
        return f"{record.get('status', 'not begun')}, {record.get('error')}"
    metric = f"val bpd {record['val_bpd']:.4f}" if "val_bpd" in record else f"val loss {record['val_loss']:.2f}"
    return f"completed, {metric}, {record['seconds'] / 60:.1f} min"


def _wait_for_owner(folder: Path) -> None:
    """Wait while another process trains this run: its sweep may have died before it."""
    if is_locked(folder):
        print(f"{folder} is being trained by another process; waiting for it", flush=True)
    while is_locked(folder):
        time.sleep(1)


def _train(folder: Path, overrides: Sequence[str], reservation: Reservation) -> tuple[int, int]:
    """Run the train command until it ends; return its exit status and its process id.

    The command inherits the locks on its devices, so that they are not free while it runs, even if this process is
    killed.

    If this process is interrupted, the command is told to stop, saves a checkpoint, and is waited for.
    """
    update_record(folder, overrides=list(overrides))
    output_dir = override("output_dir", folder.resolve())
    command = [sys.executable, "-m", "nf_mnist.train", *overrides, output_dir, "ckpt=auto"]
    with (folder / "output.txt").open("ab") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **reservation.environment},
            pass_fds=reservation.descriptors if os.name == "posix" else (),
            start_new_session=True,  # Ctrl-C reaches this process only, which passes it on as SIGTERM
        )
        try:
            return process.wait(), process.pid
        except BaseException:
            _stop(process)
            raise


def _stop(process: subprocess.Popen) -> None:
    """Tell a process to stop; kill it if it does not."""
    process.terminate()
    try:
        process.wait(SECONDS_TO_STOP)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _complete_record(folder: Path, overrides: Sequence[str], exit_status: int, pid: int) -> None:
    """Complete the record of a run that could not do so itself: it was killed, or refused before it began."""
    if exit_status < 0:
        cause = f"killed by {signal.Signals(-exit_status).name}"
        if -exit_status == signal.SIGKILL:
            cause += ", maybe for want of memory"
        update_record(folder, status=KILLED, error=cause)
    elif exit_status and read_record(folder).get("pid") != pid:
        lines = (folder / "output.txt").read_text(errors="replace").strip().splitlines() or ["it said nothing"]
        status = REFUSED if lines[-1].startswith("error: ") else FAILED
        update_record(folder, status=status, error=lines[-1].removeprefix("error: "), overrides=list(overrides))
