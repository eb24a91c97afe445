"""Trainings in processes of their own, to be stopped and killed."""

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.support.helpers import run_command

SECONDS = 1800  # more than anything here takes on a busy machine


def context() -> multiprocessing.context.ForkServerContext:
    """Return a context whose processes start at once: the server has imported everything."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(["tests.support.processes", "nf_mnist.train", "nf_mnist.training.fit", "nf_mnist.evaluate"])
    return forks


def start_training(*overrides: str) -> multiprocessing.Process:
    """Start ``python -m nf_mnist.train`` with overrides; its output goes to ``output.txt`` beside the run's folder."""
    process = context().Process(target=_train, args=(overrides,))
    process.start()
    return process


def end(process: multiprocessing.Process) -> int:
    """Wait for the end of a process and return its exit status."""
    process.join(SECONDS)
    assert process.exitcode is not None, "it hangs"
    return process.exitcode


def wait_until(is_so: Callable[[], bool], process: multiprocessing.Process | None = None) -> None:
    """Wait until something is so, while a process lives."""
    deadline = time.monotonic() + SECONDS
    while not is_so():
        assert process is None or process.is_alive(), "it ended before"
        assert time.monotonic() < deadline
        time.sleep(0.002)


def _train(overrides: Sequence[str]) -> None:
    folder = next(Path(text.partition("=")[2]) for text in overrides if text.startswith("output_dir="))
    finished = run_command("train", *overrides)
    with folder.with_name(f"{folder.name}.txt").open("a") as output:
        output.write(finished.out + finished.err)
    sys.exit(finished.code)
