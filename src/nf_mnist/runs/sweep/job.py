"""One job of a sweep: a run in a process of its own, so that whatever ends it ends nothing else."""

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
from nf_mnist.runs.record import (
    COMPLETED,
    DIVERGED,
    FAILED,
    FINAL,
    KILLED,
    REFUSED,
    is_held,
    read_record,
    update_record,
)
from nf_mnist.runs.sweep.devices import reserve_devices
from nf_mnist.runs.sweep.names import folder_override, run_name, settings

SECONDS_TO_STOP = 60


def run_job(cfg: DictConfig, overrides: Sequence[str]) -> float | NFMnistError:
    """Train in a process of its own what the overrides say, unless it has its result; go on where it was interrupted.

    Args:
        cfg: The configuration of the job.
        overrides: Of the job, as Hydra's sweeper made them.

    Returns:
        The least validation loss, in nats. Of a run without a result, its error: raised if a sweeper reads metrics, and
        returned if it only makes combinations, which would stop at an exception.
    """
    hydra = HydraConfig.get()
    folder = Path(hydra.sweep.dir) / run_name(overrides)
    is_first = os.environ.get("SLURM_PROCID", "0") == "0"  # of the processes of one run, on a cluster
    if is_first:
        _wait_for_its_owner(folder)
    if read_record(folder).get("status") not in FINAL:
        with reserve_devices(hydra.launcher, cfg.trainer) as environment:
            ended, pid = _train(folder, settings(overrides), environment)
        if is_first:
            _judge(folder, settings(overrides), ended, pid)
    record = read_record(folder)
    print(f"{folder.name}: {describe_end(record)}", flush=True)
    if record.get("status") == COMPLETED:
        return float(record["val_loss"])
    error = (DivergenceError if record.get("status") == DIVERGED else RunError)(f"{folder}: {record.get('error')}")
    if "direction" in hydra.sweeper:
        raise error
    return error


def describe_end(record: Mapping[str, Any]) -> str:
    """Say in a line how a run ended."""
    if record.get("status") != COMPLETED:
        return f"{record.get('status', 'not begun')}, {record.get('error')}"
    figure = f"val bpd {record['val_bpd']:.4f}" if "val_bpd" in record else f"val loss {record['val_loss']:.2f}"
    return f"completed, {figure}, {record['seconds'] / 60:.1f} min"


def _wait_for_its_owner(folder: Path) -> None:
    """Wait for the run of a sweep whose process is gone, but not the run's."""
    if is_held(folder):
        print(f"{folder} is being trained by another process; waiting for it", flush=True)
    while is_held(folder):
        time.sleep(1)


def _train(folder: Path, given: Sequence[str], environment: Mapping[str, str]) -> tuple[int, int]:
    """Run the train command to its end; return its exit status and its pid.

    If this process is interrupted, the run is told to stop, saves a checkpoint, and is waited for.
    """
    update_record(folder, overrides=list(given))
    command = [
        sys.executable,
        "-m",
        "nf_mnist.train",
        *given,
        folder_override("output_dir", folder.resolve()),
        "ckpt=auto",
    ]
    with (folder / "output.txt").open("ab") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            start_new_session=True,  # Ctrl-C is for this process, which passes it on as SIGTERM
        )
        try:
            return process.wait(), process.pid
        except BaseException:
            process.terminate()
            try:
                process.wait(SECONDS_TO_STOP)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            raise


def _judge(folder: Path, given: Sequence[str], ended: int, pid: int) -> None:
    """Complete the record of a run that could not do so itself: one that was killed, or refused before it began."""
    if ended < 0:
        cause = f"killed by {signal.Signals(-ended).name}"
        if -ended == signal.SIGKILL:
            cause += ", maybe for want of memory"
        update_record(folder, status=KILLED, error=cause)
    elif ended and read_record(folder).get("pid") != pid:
        lines = (folder / "output.txt").read_text(errors="replace").strip().splitlines() or ["it said nothing"]
        is_refusal = lines[-1].startswith("error: ")
        status = REFUSED if is_refusal else FAILED
        update_record(folder, status=status, error=lines[-1].removeprefix("error: "), overrides=list(given))
