"""A progress bar on the error stream, so that output can be piped."""

from collections.abc import Callable, Iterable
from typing import Any

from rich.console import Console
from rich.progress import track


def progress_bar(description: str) -> Callable[[Any], Iterable[Any]]:
    """Return a function that wraps a sequence, and shows a bar while it is iterated over.

    Args:
        description: What is being done, such as ``sampling``.
    """
    return lambda items: track(items, description, console=Console(stderr=True))
