"""Progress bars: in a notebook, and on a terminal."""

import sys
import time
from html import escape
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

SECONDS_BETWEEN_UPDATES = 0.2  # of a bar in a notebook, which redraws the whole output


class Bar(Protocol):
    """A bar that is shown until it is stopped."""

    def update(self, share: float, text: str) -> None:
        """Show the share that is done, in [0, 1], and a text."""

    def stop(self) -> None:
        """Show the bar no longer as one that moves."""


def open_bar(text: str, share: float = 0.0) -> Bar | None:
    """Return a bar where one can be shown: in a notebook or on a terminal. Return None elsewhere, as in a log file.

    Args:
        text: What is shown until the first update.
        share: The share that is done already.
    """
    if in_notebook():
        return NotebookBar(text, share)
    return TerminalBar(text, share) if sys.stderr.isatty() else None


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")
    return hasattr(getattr(ipython, "get_ipython", lambda: None)(), "kernel")


class TerminalBar:
    """A bar on the error stream, with the time that has passed and the time that is left."""

    def __init__(self, text: str, share: float) -> None:
        self._bar = Progress(
            TextColumn("{task.percentage:>3.0f}%"),
            BarColumn(),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=Console(stderr=True),
        )
        self._task = self._bar.add_task(text, total=1.0)
        self.update(share, text)
        self._bar.start()

    def update(self, share: float, text: str) -> None:
        self._bar.update(self._task, completed=share, description=text)

    def stop(self) -> None:
        self._bar.stop()


class NotebookBar:
    """A bar in the output of a notebook's cell; it needs no widgets, and the saved notebook keeps its last state."""

    def __init__(self, text: str, share: float = 0.0) -> None:
        from IPython.display import display  # there is none outside notebooks

        self._began, self._began_at = time.monotonic(), share
        self._share, self._text = share, text
        self._shown_at = self._began
        self._handle: Any = display(self._content(), raw=True, display_id=True)

    def update(self, share: float, text: str) -> None:
        self._share, self._text = share, text
        if time.monotonic() - self._shown_at > SECONDS_BETWEEN_UPDATES:
            self._show()

    def stop(self) -> None:
        self._show()

    def _show(self) -> None:
        self._shown_at = time.monotonic()
        self._handle.update(self._content(), raw=True)

    def _content(self) -> dict[str, str]:
        passed = time.monotonic() - self._began
        times = f"{_clock(passed)} passed"
        if self._began_at < self._share < 1:
            left = passed * (1 - self._share) / (self._share - self._began_at)
            times += f", {_clock(left)} left"
        text = f"{self._share:.0%} {self._text}, {times}"
        bar = f'<progress value="{self._share:.4f}" max="1" style="width: 16em; vertical-align: middle"></progress>'
        return {"text/plain": text, "text/html": f"{bar} <code>{escape(text)}</code>"}


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes}:{seconds:02d}"
