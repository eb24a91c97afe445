"""Which part of a machine a run may use: a GPU of its own, or its share of the threads."""

import contextlib
import os
import re
import subprocess
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from filelock import FileLock, Timeout
from omegaconf import DictConfig

from nf_mnist.checkpoints.writing import user_folder
from nf_mnist.errors import MachineError

SECONDS_BETWEEN_LOOKS = 1.0
VISIBLE, OF_SWEEP = "CUDA_VISIBLE_DEVICES", "NF_MNIST_SWEEP_DEVICES"
ALL = "all"


class Reservation(NamedTuple):
    """What is reserved for a run.

    Attributes:
        environment: The variables to change in the environment of the run.
        descriptors: The open files of the locks. A process that inherits them holds the locks, too.
    """

    environment: dict[str, str]
    descriptors: tuple[int, ...] = ()


@contextlib.contextmanager
def reserve_devices(launcher: DictConfig, trainer: DictConfig) -> Iterator[Reservation]:
    """Wait for a free part of this machine, and reserve it.

    Each part is a lock file in the system's temporary folder, which all sweeps of a user on this machine share. GPUs
    are named by their UUID there, since two jobs of SLURM may each call a card of their own 0. The system releases a
    lock when all processes that hold it have ended, however they end. SLURM assigns each job its own devices, so
    nothing is reserved there.

    Args:
        launcher: Hydra's node of the launcher; ``n_jobs`` or ``cpus_per_task`` set the size of a share.
        trainer: The node ``trainer`` of the run.

    Raises:
        MachineError: If the locks cannot be written.
    """
    n_cpus, n_threads = _n_cpus(), _n_threads(launcher)
    gpus = [] if trainer.accelerator == "cpu" else visible_gpus()
    if os.environ.get("SUBMITIT_EXECUTOR") == "slurm" or not (gpus or n_threads):
        yield Reservation({})
        return
    threads = {} if n_threads is None else {"OMP_NUM_THREADS": str(n_threads)}
    if gpus:
        is_count = isinstance(trainer.devices, int) and trainer.devices > 0  # auto, -1 and a list mean all of them
        n_wanted = trainer.devices if is_count else len(gpus)
        with _lock_some([f"gpu-{gpu}" for gpu in gpus], n_wanted) as locked:
            chosen = ",".join(gpus[index] for index in locked)
            yield Reservation({**threads, VISIBLE: chosen}, tuple(locked.values()))
    else:
        with _lock_some([f"cpu-{share}" for share in range(n_cpus // (n_threads or n_cpus))], 1) as locked:
            yield Reservation(threads, tuple(locked.values()))


def pass_devices_on() -> None:
    """Tell the jobs of this sweep which GPUs it sees; see :func:`take_devices_over`."""
    os.environ[OF_SWEEP] = os.environ.get(VISIBLE, ALL)


def take_devices_over() -> None:
    """Let a job see the GPUs of its sweep where submitit, which runs it on this machine, hides all of them.

    Submitit shows a job the first ``hydra.launcher.gpus_per_node`` GPUs, and none without that setting.
    """
    if os.environ.get("SUBMITIT_EXECUTOR") != "local" or os.environ.get(VISIBLE) != "":
        return
    visible = os.environ.get(OF_SWEEP, "")
    if visible == ALL:
        del os.environ[VISIBLE]
    else:
        os.environ[VISIBLE] = visible


def visible_gpus() -> list[str]:
    """Return the GPUs that torch sees, by their UUIDs, or by their numbers where ``nvidia-smi`` is not there.

    A card that is divided (MIG) counts as its instances. CUDA leaves out the names behind the first GPU that does not
    exist, and counts one instance only.
    """
    count = torch.cuda.device_count()
    if not count:
        return []
    visible = os.environ.get(VISIBLE)
    names = [str(index) for index in range(count)] if visible is None else [name.strip() for name in visible.split(",")]
    if not names[0].startswith("MIG-"):
        names = names[:count]
    cards = _cards()
    return list(dict.fromkeys(part for name in names for part in _parts(name, cards)))


def _parts(name: str, cards: Sequence[list[str]]) -> list[str]:
    """Return what a name in CUDA_VISIBLE_DEVICES means: the UUID of a card, or those of its instances."""
    if name.isdigit():
        found = cards[int(name)] if int(name) < len(cards) else [name]
    else:  # a UUID may be shortened
        instances = [[uuid] for card in cards for uuid in card[1:]]
        found = next((part for part in (*cards, *instances) if part[0].startswith(name)), [name])
    return found[1:] or found


def _cards() -> list[list[str]]:
    """Return the UUIDs of each card of this machine and of its MIG instances, in the order of ``nvidia-smi``."""
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    cards: list[list[str]] = []
    for line in listed.splitlines():
        uuid = re.search(r"UUID: ((?:GPU|MIG)-[^)\s]+)", line)
        if uuid is None:
            continue
        if line.startswith("GPU"):
            cards.append([])
        if cards:
            cards[-1].append(uuid[1])
    return cards


def _n_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _n_threads(launcher: DictConfig) -> int | None:
    """Return the number of threads of each job, or None if a job has all of them."""
    n_jobs, per_task = launcher.get("n_jobs"), launcher.get("cpus_per_task")
    share = _n_cpus() // n_jobs if n_jobs else per_task
    return None if share is None else min(max(share, 1), _n_cpus())


@contextlib.contextmanager
def _lock_some(names: Sequence[str], n_wanted: int) -> Iterator[dict[int, int]]:
    """Wait until ``n_wanted`` of the locks (at most all) are free at once, and hold them.

    Yields:
        The index of each lock that is held, and the descriptor of its file.
    """
    while True:
        locked: dict[int, int] = {}
        with contextlib.ExitStack() as stack:
            for index, name in enumerate(names):
                if len(locked) < n_wanted and (lock := _acquired(name)) is not None:
                    stack.callback(lock.release)
                    locked[index] = lock._context.lock_file_fd
            if len(locked) == min(n_wanted, len(names)):
                yield locked
                return
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _acquired(name: str) -> Any:
    """Return the lock of that name, held by this process, or None if another process holds it."""
    try:
        lock = FileLock(user_folder() / f"{name}.lock", blocking=False)
        lock.acquire()
    except Timeout:
        return None
    except OSError as error:
        raise MachineError(
            f"the devices of this machine are shared by locks in the folder for temporary files, which cannot be "
            f"written: {error}; set TMPDIR to a folder of yours"
        ) from error
    return lock
