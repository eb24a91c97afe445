"""What all fuzzes check: a command ends in time, without a traceback, and changes no file that it should not."""

import contextlib
import functools
import pickle
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from omegaconf import DictConfig

from tests.support.helpers import run_command

CPU_SECONDS, SECONDS = 60, 300  # a whole diagnosis takes 20 on a plain core; other processes slow down the clock only


class TooSlowError(BaseException):
    """A command took longer than it may; no ``except Exception`` catches this."""


@contextlib.contextmanager
def limited_time() -> Iterator[None]:
    """Raise TooSlowError in the block if it takes too long."""

    def raise_it(number: int, frame: Any) -> None:
        raise TooSlowError

    timers = {signal.SIGPROF: (signal.ITIMER_PROF, CPU_SECONDS), signal.SIGALRM: (signal.ITIMER_REAL, SECONDS)}
    earlier = {number: signal.signal(number, raise_it) for number in timers}
    try:
        for timer, seconds in timers.values():
            signal.setitimer(timer, seconds)
        yield
    finally:
        for timer, _ in timers.values():
            signal.setitimer(timer, 0)
        for number, handler in earlier.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def composed_once() -> Iterator[None]:
    """Let Hydra compose each command line once in the block, which takes longer than most refusals."""
    compose, composed = ConfigLoaderImpl.load_configuration, {}

    @functools.wraps(compose)
    def recall(loader: ConfigLoaderImpl, **given: Any) -> DictConfig:
        key = str(given)
        if key not in composed:
            composed[key] = pickle.dumps(compose(loader, **given))
        return pickle.loads(composed[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ConfigLoaderImpl, "load_configuration", recall)
        yield


def complaint(command: str, arguments: Sequence[str]) -> str:
    """Run a command; return what is wrong with how it ended, or ''."""
    try:
        with limited_time():
            ended = run_command(command, *arguments)
    except TooSlowError:
        return "it hangs"
    except Exception as error:  # what a user would see as a traceback
        return f"{type(error).__name__}: {error}"
    last = ended.err.strip().splitlines()[-1:] or [""]
    is_refused = ended.code == 1 and last[0].startswith("error: ") and len(last[0]) > len("error: ")
    is_usage = ended.code == 2 and command == "sweep_report"  # argparse refuses its folder
    return "" if (ended.code == 0 or is_refused or is_usage) and "Traceback" not in ended.err else ended.err


def state(folder: Path) -> dict[Path, tuple[int, int]]:
    """Return size and time of change of every file in a folder."""
    found = ((path, path.stat()) for path in folder.rglob("*") if path.is_file())
    return {path: (about.st_size, about.st_mtime_ns) for path, about in found}
