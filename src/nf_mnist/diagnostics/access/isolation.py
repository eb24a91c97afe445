"""Calls that leave no trace: copies of flows, fixed random numbers, and a limit of time."""

import contextlib
import copy
import random
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

T = TypeVar("T")
Direction = Callable[[Tensor], tuple[Tensor, Tensor]]


class TimeUp(BaseException):
    """Raised when a limit of time has passed. A user's ``except Exception`` does not catch it."""


def copied(flow: T) -> T:
    """Return a deep copy, also of a flow that keeps tensors of an autograd graph, which torch refuses to copy."""
    memo: dict[int, Any] = {}
    modules = flow.modules() if isinstance(flow, nn.Module) else []
    for module in modules:
        for value in vars(module).values():
            memo |= {id(tensor): tensor.detach().clone() for tensor in _tensors(value) if not tensor.is_leaf}
    return copy.deepcopy(flow, memo)


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Fix the random numbers of torch, numpy and Python within the context, and restore their states afterwards."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002  # users' flows draw from it
    with torch.random.fork_rng(devices=[*range(torch.cuda.device_count())]):
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])  # noqa: NPY002


def seeded_call(direction: Direction) -> Direction:
    """Return a direction of a map that draws the same random numbers in each call."""

    def call(value: Tensor) -> tuple[Tensor, Tensor]:
        with seeded(0):
            return direction(value)

    return call


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Stop what runs in the context after a number of seconds.

    The limit needs the signals of a Unix system and holds in the main thread only; elsewhere nothing is stopped.

    Raises:
        TimeUp: When the time has passed.
    """
    if not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise TimeUp

    earlier = signal.signal(signal.SIGALRM, stop)
    # Again and again, should the flow swallow the exception. A timer refuses more than 292 years.
    signal.setitimer(signal.ITIMER_REAL, min(seconds, threading.TIMEOUT_MAX), 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, earlier)


def _tensors(value: Any) -> Iterator[Tensor]:
    """Yield tensors in an attribute: itself, or in a list, a tuple or a dictionary."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
