"""Which part of a machine a run may use: a GPU of its own, or its share of the threads."""

import contextlib
import os
import time
from collections.abc import Iterator, Sequence

import torch
from filelock import FileLock, Timeout
from omegaconf import DictConfig

from nf_mnist.checkpoints.writing import user_folder

SECONDS_BETWEEN_LOOKS = 1.0


@contextlib.contextmanager
def reserve_devices(launcher: DictConfig, trainer: DictConfig) -> Iterator[dict[str, str]]:
    """Wait for a free part of this machine, and reserve it.

    Each part is a lock file in the system's temporary folder, which all sweeps of a user on this machine share. The
    system releases the lock when the process ends, however it ends. SLURM assigns each job its own devices, so nothing
    is reserved there.

    Args:
        launcher: Hydra's node of the launcher; ``n_jobs`` or ``cpus_per_task`` set the size of a share.
        trainer: The node ``trainer`` of the run.

    Yields:
        The variables to change in the environment of the run.
    """
    n_cpus, n_threads = _n_cpus(), _n_threads(launcher)
    gpus = [] if trainer.accelerator == "cpu" else visible_gpus()
    if os.environ.get("SUBMITIT_EXECUTOR") == "slurm" or not (gpus or n_threads):
        yield {}
        return
    threads = {} if n_threads is None else {"OMP_NUM_THREADS": str(n_threads)}
    if gpus:
        is_count = isinstance(trainer.devices, int) and trainer.devices > 0  # auto, -1 and a list mean all of them
        n_wanted = trainer.devices if is_count else len(gpus)
        with _lock_some([f"gpu-{gpu}" for gpu in gpus], n_wanted) as locked:
            yield {**threads, "CUDA_VISIBLE_DEVICES": ",".join(gpus[index] for index in locked)}
    else:
        with _lock_some([f"cpu-{share}" for share in range(n_cpus // (n_threads or n_cpus))], 1):
            yield threads


def visible_gpus() -> list[str]:
    """Return the GPUs that torch sees, under their names in CUDA_VISIBLE_DEVICES.

    Names behind the first GPU that does not exist are left out, as CUDA does.
    """
    count = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [str(index) for index in range(count)] if visible is None else visible.split(",")
    return names[:count]


def _n_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _n_threads(launcher: DictConfig) -> int | None:
    """Return the number of threads of each job, or None if a job has all of them."""
    n_jobs, per_task = launcher.get("n_jobs"), launcher.get("cpus_per_task")
    share = _n_cpus() // n_jobs if n_jobs else per_task
    return None if share is None else min(max(share, 1), _n_cpus())


@contextlib.contextmanager
def _lock_some(names: Sequence[str], n_wanted: int) -> Iterator[list[int]]:
    """Wait until ``n_wanted`` of the locks (at most all) are free at once, hold them, and yield their indices."""
    locks = [FileLock(user_folder() / f"{name}.lock") for name in names]
    while True:
        locked: list[int] = []
        with contextlib.ExitStack() as stack:
            for index, lock in enumerate(locks):
                if len(locked) < n_wanted:
                    with contextlib.suppress(Timeout):
                        stack.enter_context(lock.acquire(blocking=False))
                        locked.append(index)
            if len(locked) == min(n_wanted, len(locks)):
                yield locked
                return
        time.sleep(SECONDS_BETWEEN_LOOKS)
