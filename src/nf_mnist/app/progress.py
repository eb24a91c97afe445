"""A progress bar on the error stream, so that output can be piped, or in a notebook."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from nf_mnist.bars import NotebookBar, in_notebook


def progress_bar(description: str) -> Callable[[Any], Iterable[Any]]:
    """Return a function that wraps a sequence, and shows a bar while it is iterated over.

    Args:
        description: What is being done, such as ``sampling``; it is shown as it is, brackets too.
    """

    def tracked_in_notebook(items: Any) -> Iterator[Any]:
        bar = NotebookBar(description)
        for n_done, item in enumerate(items, start=1):
            yield item
            bar.update(n_done / len(items), description)
        bar.stop()

    def tracked(items: Any) -> Iterator[Any]:
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(show_speed=True),
            TimeRemainingColumn(elapsed_when_finished=True),
        )
        with Progress(*columns, console=Console(stderr=True)) as progress:
            yield from progress.track(items, description=description)

    return tracked_in_notebook if in_notebook() else tracked
