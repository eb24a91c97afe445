"""A training that is told to stop ends after its present step."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import lightning as L
from lightning.pytorch.utilities.exceptions import SIGTERMException

# SLURM and submitit send these besides SIGTERM. Windows has neither, and there Lightning does not handle SIGTERM.
STOP_SIGNALS = tuple(getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name))
EXIT_STATUS_OF_SIGTERM = 128 + signal.SIGTERM


@contextlib.contextmanager
def stop_on_signals(trainer: L.Trainer, last: Path) -> Iterator[None]:
    """Treat SIGUSR1, SIGUSR2 and Ctrl-C as SIGTERM; exit once Lightning has ended the training.

    A second Ctrl-C ends the process at once. Where several processes train, the first does: each process would get it,
    and Lightning would then send it from one to the other a second time.

    Args:
        trainer: The trainer, whose callbacks save a checkpoint; see
            :class:`~nf_mnist.training.callbacks.SaveResumable`.
        last: The path of that checkpoint, for the message.

    Raises:
        SystemExit: With status 143, as if SIGTERM had ended the process.
    """
    earlier = {}
    if threading.current_thread() is threading.main_thread():  # other threads cannot set handlers
        handlers = dict.fromkeys(STOP_SIGNALS, _terminate)
        # Scripts start background jobs with SIGINT ignored; it stays ignored.
        is_interactive = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if STOP_SIGNALS and is_interactive and trainer.world_size == 1:
            handlers[signal.SIGINT] = _terminate_once
        earlier = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    except SIGTERMException:
        print(f"stopped by a signal at step {trainer.global_step}; resume with ckpt={last}", file=sys.stderr)
        raise SystemExit(EXIT_STATUS_OF_SIGTERM) from None
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _terminate(number: int, frame: object) -> None:
    signal.raise_signal(signal.SIGTERM)


def _terminate_once(number: int, frame: object) -> None:
    signal.signal(number, signal.default_int_handler)
    _terminate(number, frame)
