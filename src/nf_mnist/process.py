"""The process of a command: how it ends when it is told to stop, and what it does when nobody reads its output."""

import contextlib
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

# Schedulers send the first three, and a terminal that is closed the last. Windows has only SIGTERM.
STOP_SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGUSR1", "SIGUSR2", "SIGHUP") if hasattr(signal, name)
)
EXIT_STATUS_OF_SIGTERM, EXIT_STATUS_OF_SIGINT = 128 + signal.SIGTERM, 128 + signal.SIGINT
_DEFAULTS = (signal.SIG_DFL, signal.default_int_handler)
# Asked before a command sets it for Hydra.
WANTS_TRACEBACKS = os.environ.get("HYDRA_FULL_ERROR") == "1"
_pid = os.getpid()


def begin_command() -> None:
    """Prepare this process if it is one of a command's own; :mod:`nf_mnist` calls this before all slow imports."""
    if _is_command():
        keep_streams()
        _set_handlers()


@contextlib.contextmanager
def handled_signals() -> Iterator[None]:
    """Let every signal to stop end the process in one line; restore the earlier handlers afterwards."""
    earlier = _set_handlers()
    try:
        yield
    except KeyboardInterrupt:  # where another handler than ours was set
        _say("stopped by SIGINT")
        raise SystemExit(EXIT_STATUS_OF_SIGINT) from None
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def stop(number: int, frame: FrameType | None = None) -> None:
    """Handle a signal: print one line and exit.

    Raises:
        SystemExit: With status 130 after Ctrl-C, else with status 143.
    """
    if os.getpid() != _pid:  # a process that loads data: its parent says so
        os._exit(128 + number)
    _say(f"stopped by {signal.Signals(number).name}")
    raise SystemExit(EXIT_STATUS_OF_SIGINT if number == signal.SIGINT else EXIT_STATUS_OF_SIGTERM)


def keep_streams() -> None:
    """Let nothing end because an output stream is closed, or because its reader has gone: what is lost is dropped.

    Descriptors that are closed are opened on the null device. Otherwise the next file would get their number.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        stream: Any = getattr(sys, name)
        if stream is getattr(sys, f"__{name}__"):  # else somebody has redirected it
            setattr(sys, name, _lasting(descriptor, stream))


class _LastingOutput(io.FileIO):
    """Output that pretends to write when it cannot."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(data)


def _lasting(descriptor: int, stream: Any) -> io.TextIOWrapper:
    if stream is not None:
        with contextlib.suppress(OSError):
            stream.flush()
    output = _LastingOutput(descriptor, "wb", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(output),
        encoding=getattr(stream, "encoding", "utf-8"),
        errors=getattr(stream, "errors", "backslashreplace"),
        line_buffering=descriptor == 2 or output.isatty(),
    )


def _set_handlers() -> dict[int, Any]:
    """Set :func:`stop` for each signal that has no handler; return the earlier ones. What is ignored stays ignored."""
    if threading.current_thread() is not threading.main_thread():  # other threads cannot set handlers
        return {}
    global _pid
    _pid = os.getpid()
    numbers = [number for number in (*STOP_SIGNALS, signal.SIGINT) if signal.getsignal(number) in _DEFAULTS]
    return {number: signal.signal(number, stop) for number in numbers}


def _is_command() -> bool:
    """Return whether this process was started as ``python -m nf_mnist.NAME`` or as the script ``nf_mnist.NAME``."""
    given, original = getattr(sys, "argv", []), sys.orig_argv
    if given[:1] == ["-m"] and "-m" in original:  # Python replaces this once it has found the module
        name = "".join(original[original.index("-m") + 1 :][:1])
    else:
        name = Path("".join(given[:1])).name
    return name.startswith("nf_mnist.")


def _say(text: str) -> None:
    """Print a line; unlike ``print``, a handler may call this in the middle of a ``print``."""
    with contextlib.suppress(OSError):
        os.write(2, f"{text}\n".encode())
