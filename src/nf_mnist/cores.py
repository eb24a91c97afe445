"""How many threads compute where other processes need the cores, too.

The threads of an operation wait for each other. Where another process takes the core of one of them, the others spin
until it is back: on two cores beside one busy process, one thread is twice as fast as two.
"""

import contextlib
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch

SECONDS_BETWEEN_LOOKS = 2.0
SECONDS_OF_FIRST_LOOK = 0.2
SPARE = 0.25  # cores that others may use before a thread gives way to them: what an idle desktop takes
PROC_STAT = Path("/proc/stat")

_is_fixed = False


class CoreTimes(NamedTuple):
    """Seconds since some moment in the past.

    Attributes:
        now: The time.
        busy: Time in which the cores that this process may use have computed, for any process, all cores together.
        own: Time in which they have computed for this process.
    """

    now: float
    busy: float
    own: float


def read_core_times() -> CoreTimes | None:
    """Return the times so far, or None where the system does not count them as Linux does in ``/proc/stat``."""
    try:
        lines = PROC_STAT.read_text().splitlines()
        own_cores = {f"cpu{number}" for number in os.sched_getaffinity(0)}
    except (OSError, AttributeError):
        return None
    ticks = 0
    for name, *counts in map(str.split, lines):
        if name in own_cores:
            user, nice, system, _, _, irq, softirq = map(int, counts[:7])  # between them: idle, and waiting for a disk
            ticks += user + nice + system + irq + softirq
    return CoreTimes(time.monotonic(), ticks / os.sysconf("SC_CLK_TCK"), time.process_time())


def cores_of_others(before: CoreTimes, after: CoreTimes) -> float:
    """Return how many cores other processes used between two moments, on average."""
    return max(0.0, (after.busy - before.busy - after.own + before.own) / (after.now - before.now))


class SharedCores:
    """Sets the number of torch's threads by the cores that other processes leave free.

    A process that needs a core gets a share of it also where all are taken, at least a half beside one thread; so a
    core that is used by others for more than a quarter of the time counts as theirs. The first look takes 0.2 s, in
    which this process sleeps; later ones take microseconds.

    Sums in float32 depend on the number of threads in their last bits. Therefore nothing is changed where algorithms
    are to be deterministic (``trainer.deterministic=true``), or within :func:`fixed_threads`.

    Attributes:
        n_threads: Number of threads at the beginning; there are never more.
        fewest: The smallest number so far.
    """

    def __init__(self) -> None:
        self.n_threads = self.fewest = torch.get_num_threads()
        self._before = None if self.is_off() else read_core_times()
        if self._before is not None:
            time.sleep(SECONDS_OF_FIRST_LOOK)
            self._look()

    def is_off(self) -> bool:
        """Return whether the number of threads must not change, or cannot fall."""
        return self.n_threads == 1 or _is_fixed or torch.are_deterministic_algorithms_enabled()

    def adapt(self) -> None:
        """Change the number of threads if the last look is more than two seconds ago and others use more or less."""
        if self._before is not None and time.monotonic() - self._before.now > SECONDS_BETWEEN_LOOKS:
            self._look()

    def text(self) -> str:
        """Return in words that there are fewer threads than at the beginning, or ""."""
        n = torch.get_num_threads()
        return f"{n} of {self.n_threads} threads beside other processes" if n < self.n_threads else ""

    def restore(self) -> None:
        """Compute with as many threads as at the beginning."""
        torch.set_num_threads(self.n_threads)

    def _look(self) -> None:
        before, after = self._before, read_core_times()
        if before is None or after is None:
            return
        self._before = after
        taken = max(0, math.ceil(cores_of_others(before, after) - SPARE))
        n = min(max(len(os.sched_getaffinity(0)) - taken, 1), self.n_threads)
        if n != torch.get_num_threads():
            torch.set_num_threads(n)
        self.fewest = min(self.fewest, n)


@contextlib.contextmanager
def fixed_threads(n: int | None) -> Iterator[None]:
    """Compute with n threads (None: as many as now) inside the block, whatever others use; with as before after it."""
    global _is_fixed
    before, was_fixed = torch.get_num_threads(), _is_fixed
    torch.set_num_threads(n or before)
    _is_fixed = True
    try:
        yield
    finally:
        torch.set_num_threads(before)
        _is_fixed = was_fixed
