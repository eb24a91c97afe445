"""A progress bar on the error stream, so that output can be piped, or in a notebook."""

import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from nf_mnist.bars import NotebookBar, in_notebook
from nf_mnist.cores import SharedCores


def progress_bar(description: str) -> Callable[[Any], Iterable[Any]]:
    """Return a function that wraps a sequence, and shows a bar while it is iterated over.

    In between, the number of threads follows the cores that other processes leave free, and the bar says so.

    Args:
        description: What is being done, such as ``sampling``; it is shown as it is, brackets too.
    """
    show = _in_notebook if in_notebook() else _on_terminal

    def tracked(items: Any) -> Iterator[Any]:
        cores = SharedCores()

        def text() -> str:
            cores.adapt()
            return ", ".join(filter(None, (description, cores.text())))

        try:
            yield from show(items, text)
        finally:
            cores.restore()

    return tracked


def _in_notebook(items: Any, text: Callable[[], str]) -> Iterator[Any]:
    bar = NotebookBar(text())
    for n_done, item in enumerate(items, start=1):
        yield item
        bar.update(n_done / len(items), text())
    bar.stop()


def _on_terminal(items: Any, text: Callable[[], str]) -> Iterator[Any]:
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(show_speed=True),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(text(), total=operator.length_hint(items) or None)
        for item in progress.track(items, task_id=task):
            progress.update(task, description=text())
            yield item
