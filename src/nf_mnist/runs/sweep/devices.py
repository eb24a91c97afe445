"""Which part of a machine a run may use: a GPU of its own, or its share of the threads."""

import contextlib
import getpass
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from filelock import FileLock, Timeout
from omegaconf import DictConfig

SECONDS_BETWEEN_LOOKS = 1.0


@contextlib.contextmanager
def reserve_devices(launcher: DictConfig, trainer: DictConfig) -> Iterator[dict[str, str]]:
    """Wait for a free part of this machine, and hold it.

    Each part is a lock file in the system's temporary folder, which all sweeps of a user on this machine share; it is
    free again as soon as its process ends, however it ends. SLURM gives each job its own part, so nothing is leased.

    Args:
        launcher: Hydra's node of the launcher: ``n_jobs`` or ``cpus_per_task`` say what a share is.
        trainer: ``trainer`` of the run.

    Yields:
        What is to be changed in the environment of the run.
    """
    n_cpus, n_threads = _n_cpus(), _n_threads(launcher)
    gpus = [] if trainer.accelerator == "cpu" else visible_gpus()
    if os.environ.get("SUBMITIT_EXECUTOR") == "slurm" or not (gpus or n_threads):
        yield {}
        return
    threads = {} if n_threads is None else {"OMP_NUM_THREADS": str(n_threads)}
    if gpus:
        counts = isinstance(trainer.devices, int) and trainer.devices > 0  # auto, -1 and a list of some: all
        n_wanted = trainer.devices if counts else len(gpus)
        with _any_of([f"gpu-{gpu}" for gpu in gpus], n_wanted) as taken:
            yield {**threads, "CUDA_VISIBLE_DEVICES": ",".join(gpus[number] for number in taken)}
    else:
        with _any_of([f"cpu-{number}" for number in range(n_cpus // (n_threads or n_cpus))], 1):
            yield threads


def visible_gpus() -> list[str]:
    """Return the GPUs that torch sees, as CUDA_VISIBLE_DEVICES names them: those before the first that is not there."""
    import torch

    count = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [str(number) for number in range(count)] if visible is None else visible.split(",")
    return names[:count]


def _n_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _n_threads(launcher: DictConfig) -> int | None:
    """Return the threads of each job; None if a job has all."""
    n_jobs, per_task = launcher.get("n_jobs"), launcher.get("cpus_per_task")
    share = _n_cpus() // n_jobs if n_jobs else per_task
    return None if share is None else min(max(share, 1), _n_cpus())


@contextlib.contextmanager
def _any_of(names: Sequence[str], n_wanted: int) -> Iterator[list[int]]:
    """Hold ``n_wanted`` of the locks (all, if there are fewer), or none while they are not free; yield which."""
    user = os.getuid() if hasattr(os, "getuid") else getpass.getuser()  # in containers, users often have no name
    folder = Path(tempfile.gettempdir()) / f"nf_mnist-{user}"
    folder.mkdir(exist_ok=True)
    locks = [FileLock(folder / f"{name}.lock") for name in names]
    while True:
        taken: list[int] = []
        with contextlib.ExitStack() as held:
            for number, lock in enumerate(locks):
                if len(taken) < n_wanted:
                    with contextlib.suppress(Timeout):
                        held.enter_context(lock.acquire(blocking=False))
                        taken.append(number)
            if len(taken) == min(n_wanted, len(locks)):
                yield taken
                return
        time.sleep(SECONDS_BETWEEN_LOOKS)
