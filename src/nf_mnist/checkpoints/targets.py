"""Which targets the configuration of a checkpoint may name: building calls them, and the file may be hostile."""

import importlib
import pkgutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nf_mnist.errors import CheckpointError

BUILDERS = ("nf_mnist.flows", "nf_mnist.data")


def check_targets(node: Any, trust: tuple[str, ...], path: str | Path) -> None:
    """Refuse a configuration that names code outside nf_mnist's builders and outside trusted packages.

    Only ``model`` and ``data`` are ever built from a file, so only they are checked. Of nf_mnist, the public builders
    of flows and readers of data are permitted, not everything that can be reached through its modules: it also has
    commands, and functions that write files.

    Args:
        node: The configuration, plain dicts and lists.
        trust: Packages whose targets are permitted too.
        path: Where the configuration is from, for the message.

    Raises:
        CheckpointError: Naming the first target that is refused; nothing has been called by then.
    """
    for part in ("model", "data"):
        for text in _strings(node.get(part)):
            if "${" in text:
                raise CheckpointError(f"{path} is refused: its configuration holds the interpolation {text!r}")
        for target in _targets(node.get(part)):
            if not _is_permitted(target, trust):
                raise CheckpointError(
                    f"{path} is refused: its configuration names {target!r}, which is not one of nf_mnist's flows or "
                    f"data and could run code; if you trust it, pass trust=[{str(target).partition('.')[0]}]"
                )


def _is_permitted(target: Any, trust: tuple[str, ...]) -> bool:
    """Return whether a target is a public name of the builders' packages, or defined in a trusted package."""
    if not isinstance(target, str) or ":" in target:
        return False
    package, _, name = target.rpartition(".")
    if package in BUILDERS:
        return name in importlib.import_module(package).__all__
    if target.partition(".")[0] not in trust:
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
