"""A training that is told to stop ends with its present step."""

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import lightning as L
from lightning.pytorch.utilities.exceptions import SIGTERMException

STOP_SIGNALS = (signal.SIGUSR1, signal.SIGUSR2)  # SLURM's and submitit's, besides SIGTERM
STOPPED = 128 + signal.SIGTERM


@contextlib.contextmanager
def stop_on_signals(trainer: L.Trainer, last: Path) -> Iterator[None]:
    """Take SIGUSR1 and SIGUSR2 for SIGTERM, and end this process once Lightning has ended the training for it.

    Args:
        trainer: Whose callbacks save a checkpoint; see :class:`~nf_mnist.training.callbacks.SaveResumable`.
        last: That checkpoint, for the message.

    Raises:
        SystemExit: With status 143, as a process that SIGTERM ends.
    """
    earlier = {}
    if threading.current_thread() is threading.main_thread():  # no other may set handlers
        earlier = {number: signal.signal(number, _terminate) for number in STOP_SIGNALS}
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
