"""Commands in their own processes: trainings that tests stop and kill, and two of the same command at once."""

import contextlib
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing.synchronize import Barrier
from pathlib import Path

from tests.support.fuzz import composed_once
from tests.support.helpers import Finished, run_command

SECONDS = 1800  # more than anything here takes on a busy machine
_until_the_end = contextlib.ExitStack()


def context() -> multiprocessing.context.ForkServerContext:
    """Return a context whose processes start quickly: its server has imported everything."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(
        ["tests.support.processes", "nf_mnist.train", "nf_mnist.training.fit", "nf_mnist.evaluate"]
    )
    return forks


def start_training(*overrides: str) -> multiprocessing.Process:
    """Start ``python -m nf_mnist.train`` with overrides; its output goes to ``RUN.txt`` beside the run's folder."""
    process = context().Process(target=_train, args=(overrides,))
    process.start()
    return process


def end(process: multiprocessing.Process) -> int:
    """Wait until a process ends; return its exit status."""
    process.join(SECONDS)
    assert process.exitcode is not None, "the process hangs"
    return process.exitcode


def wait_until(condition: Callable[[], bool], process: multiprocessing.Process | None = None) -> None:
    """Wait until a condition holds; fail if the process ends before."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert process is None or process.is_alive(), "the process ended before"
        assert time.monotonic() < deadline
        time.sleep(0.002)


@contextlib.contextmanager
def two_processes() -> Iterator[Executor]:
    """Yield two processes that begin :func:`run_together` at the same moment, and compose a command line once."""
    with ProcessPoolExecutor(2, context(), initializer=_meet_at, initargs=(context().Barrier(2),)) as pool:
        yield pool


def run_together(command: str, arguments: Sequence[str], folder: Path) -> Finished:
    """Run a command in a folder, in one of two processes and as soon as the other one is ready, too."""
    os.chdir(folder)
    _barrier.wait(SECONDS)
    return run_command(command, *arguments)


def _meet_at(barrier: Barrier) -> None:
    global _barrier
    _barrier = barrier
    _until_the_end.enter_context(composed_once())


def _train(overrides: Sequence[str]) -> None:
    folder = next(Path(text.partition("=")[2]) for text in overrides if text.startswith("output_dir="))
    finished = run_command("train", *overrides)
    with folder.with_name(f"{folder.name}.txt").open("a") as output:
        output.write(finished.out + finished.err)
    sys.exit(finished.code)
