"""Which targets the configuration of a checkpoint may name: building calls them, and the file may be hostile."""

import importlib
import pkgutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nf_mnist.errors import CheckpointError

DOWNLOADING = "nf_mnist.data.torchvision_set"
READERS = ("nf_mnist.data.array_file", "nf_mnist.data.mnist", DOWNLOADING)
FLOWS = "nf_mnist.flows"
PARTS = {"model": "flows", "data": "readers of data"}  # what is built from a file, and what it may name


def check_targets(node: Any, trust: tuple[str, ...], path: str | Path) -> None:
    """Refuse a configuration that names code outside nf_mnist's builders and outside trusted packages.

    Only ``model`` and ``data`` are ever built from a file, so only they are checked. Of nf_mnist, ``model`` may name
    the public builders of flows, and ``data`` the readers of data, not everything that can be reached through its
    modules: it also has commands, and functions that write files. What ``data`` names must also go through
    :func:`without_downloads`.

    Args:
        node: The configuration, plain dicts and lists.
        trust: Packages whose targets are permitted too.
        path: Where the configuration is from, for the message.

    Raises:
        CheckpointError: Naming the first target that is refused; nothing has been called by then.
    """
    for part, what in PARTS.items():
        for text in _strings(node.get(part)):
            if "${" in text:
                raise CheckpointError(f"{path} is refused: its configuration holds the interpolation {text!r}")
        for target in _targets(node.get(part)):
            if target not in _permitted(part) and not _is_trusted(target, trust):
                raise CheckpointError(
                    f"{path} is refused: in {part} its configuration names {target!r}, which is not one of nf_mnist's "
                    f"{what} and could run code{_advice(target)}"
                )


def without_downloads(node: Any) -> Any:
    """Return the configuration of a checkpoint, plain dicts and lists, with readers that only read what is there."""
    if isinstance(node, dict):
        kept = {key: without_downloads(value) for key, value in node.items()}
        return kept | {"download": False} if node.get("_target_") == DOWNLOADING else kept
    if isinstance(node, list | tuple):
        return [without_downloads(value) for value in node]
    return node


def _permitted(part: str) -> tuple[str, ...]:
    """Return the targets of nf_mnist that a part may name."""
    if part == "data":
        return READERS
    return tuple(f"{FLOWS}.{name}" for name in importlib.import_module(FLOWS).__all__)


def _advice(target: Any) -> str:
    """Return how to permit a target; all of nf_mnist should not be, since it also has functions that write files."""
    package = str(target).partition(".")[0]
    return f"; if you trust it, pass trust=[{package}]" if package.isidentifier() and package != "nf_mnist" else ""


def _is_trusted(target: Any, trust: tuple[str, ...]) -> bool:
    """Return whether a target is defined in a trusted package."""
    if not isinstance(target, str) or ":" in target or target.partition(".")[0] not in trust:
        return False
    try:
        found = pkgutil.resolve_name(target)
    except Exception:  # importing a foreign package can fail in any way
        return False
    return str(getattr(found, "__module__", None)).partition(".")[0] in trust


def _targets(node: Any) -> Iterable[Any]:
    if isinstance(node, dict):
        if "_target_" in node:
            yield node["_target_"]
        for value in node.values():
            yield from _targets(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _targets(value)


def _strings(node: Any) -> Iterable[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield str(key)
            yield from _strings(value)
    elif isinstance(node, list | tuple):
        for value in node:
            yield from _strings(value)
    elif isinstance(node, str):
        yield node
