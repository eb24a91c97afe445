"""A training that is told to stop ends after its present step."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.exceptions import SIGTERMException

from nf_mnist.overrides import pasteable
from nf_mnist.process import EXIT_STATUS_OF_SIGTERM, STOP_SIGNALS, stop


@contextlib.contextmanager
def stop_on_signals(trainer: L.Trainer, last: Path) -> Iterator[None]:
    """Treat SIGUSR1, SIGUSR2, SIGHUP and Ctrl-C as SIGTERM; exit once Lightning has ended the training.

    Before the first step and after the last one, a signal ends the process at once. A second Ctrl-C does so too. Where
    several processes train, the first does: each process would get it, and Lightning would then send it from one to the
    other a second time.

    Args:
        trainer: The trainer, whose callbacks save a checkpoint; see
            :class:`~nf_mnist.training.callbacks.SaveResumable`.
        last: The path of that checkpoint, for the message.

    Raises:
        SystemExit: With status 143, as if SIGTERM had ended the process.
    """
    was_told = False

    def on_sigterm(number: int, frame: Any) -> None:
        nonlocal was_told
        if not (trainer.received_sigterm and trainer.state.fn == TrainerFn.FITTING):
            stop(number)
        was_told = True  # Lightning, whose handler calls this one, ends the training after its step

    earlier = _set_handlers(on_sigterm, trainer.world_size)
    try:
        yield
        if was_told:  # in the last step
            raise SIGTERMException
    except SIGTERMException:
        print(
            f"stopped by a signal at step {trainer.global_step}; resume with {pasteable('ckpt', last)}", file=sys.stderr
        )
        raise SystemExit(EXIT_STATUS_OF_SIGTERM) from None
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _set_handlers(on_sigterm: Any, world_size: int) -> dict[int, Any]:
    """Set the handlers of a training; return the earlier ones. What is ignored stays ignored, as nohup wants it."""
    # Other threads cannot set handlers. On Windows, Lightning does not handle SIGTERM.
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "SIGUSR1"):
        return {}
    handlers: dict[int, Any] = {**dict.fromkeys(STOP_SIGNALS, _terminate), signal.SIGTERM: on_sigterm}
    if world_size == 1:
        handlers[signal.SIGINT] = _terminate_once
    handlers = {number: new for number, new in handlers.items() if signal.getsignal(number) != signal.SIG_IGN}
    return {number: signal.signal(number, handler) for number, handler in handlers.items()}


def _terminate(number: int, frame: object) -> None:
    signal.raise_signal(signal.SIGTERM)


def _terminate_once(number: int, frame: object) -> None:
    signal.signal(number, signal.default_int_handler)
    _terminate(number, frame)
