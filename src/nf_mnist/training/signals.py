"""A training that is told to stop ends with its present step."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import lightning as L
from lightning.pytorch.utilities.exceptions import SIGTERMException

# SLURM's and submitit's, besides SIGTERM; Windows has neither, and there Lightning takes no SIGTERM.
STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name))
STOPPED = 128 + signal.SIGTERM


@contextlib.contextmanager
def stop_on_signals(trainer: L.Trainer, last: Path) -> Iterator[None]:
    """Take SIGUSR1, SIGUSR2 and Ctrl-C for SIGTERM, and end this process once Lightning has ended the training for it.

    A second Ctrl-C ends it at once, and so does the first where several processes train: each would get it, and what
    Lightning then sends from one to the other would be sent twice.

    Args:
        trainer: Whose callbacks save a checkpoint; see :class:`~nf_mnist.training.callbacks.SaveResumable`.
        last: That checkpoint, for the message.

    Raises:
        SystemExit: With status 143, as a process that SIGTERM ends.
    """
    earlier = {}
    if threading.current_thread() is threading.main_thread():  # no other may set handlers
        handlers = dict.fromkeys(STOP_SIGNALS, _terminate)
        is_heard = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # not in the background of a script
        if STOP_SIGNALS and is_heard and trainer.world_size == 1:
            handlers[signal.SIGINT] = _terminate_once
        earlier = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    except SIGTERMException:
        print(f"stopped by a signal at step {trainer.global_step}; resume with ckpt={last}", file=sys.stderr)
        raise SystemExit(STOPPED) from None
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _terminate(number: int, frame: object) -> None:
    signal.raise_signal(signal.SIGTERM)


def _terminate_once(number: int, frame: object) -> None:
    signal.signal(number, signal.default_int_handler)
    _terminate(number, frame)
