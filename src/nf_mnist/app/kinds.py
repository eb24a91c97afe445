"""Kinds of settings, by the annotations of the functions that they are given to."""

import inspect
import math
import pkgutil
from collections.abc import Callable, Iterator
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, ListConfig, OmegaConf

from nf_mnist.errors import ConfigError

OTHERS = "**"
KINDS = {bool: "true or false", int: "a whole number", float: "a number"}


def check_kinds(node: Any) -> None:
    """Check that booleans, whole numbers and numbers in a configuration are what its targets take.

    Only targets of nf_mnist are checked, and only their arguments that are annotated as bool, int or float, perhaps
    with None.

    Args:
        node: A node of a configuration; nodes within it are checked too.

    Raises:
        ConfigError: Naming the first setting that is of the wrong kind.
    """
    for target in nodes_with_targets(node):
        hints = _hints(str(target._target_))
        for key in map(str, target):
            if not key.startswith("_") and not OmegaConf.is_missing(target, key):  # _target_ and the like are Hydra's
                check_kind(target._get_full_key(key), target[key], hints.get(key, hints.get(OTHERS, Any)))


def check_kind(setting: str, value: Any, hint: Any) -> None:
    """Check the kind of a value.

    Args:
        setting: Full name of the setting, for the message.
        value: The value.
        hint: Its annotation.

    Raises:
        ConfigError: If the annotation is bool, int, float, or one of them with None, and the value is none of it.
    """
    options = set(get_args(hint)) if get_origin(hint) in (Union, UnionType) else {hint}
    if (value is None and NoneType in options) or not options - {NoneType} <= KINDS.keys():
        return
    if not any(is_a(value, kind) for kind in options - {NoneType}):
        wanted = " or ".join(text for kind, text in KINDS.items() if kind in options)
        raise ConfigError(f"{setting} must be {wanted}, got {shown(value)}")


def is_a(value: Any, kind: type) -> bool:
    """Return whether a value is a bool, int or float as a setting.

    No bool is a number, whole numbers have at most 64 bits, as in a tensor, and floats are finite.
    """
    if kind is bool or isinstance(value, bool):  # "no" and "off" are words here, and a word would switch it on
        return isinstance(value, bool) and kind is bool
    if isinstance(value, int):
        return not _is_too_long(value)
    return kind is float and isinstance(value, float) and math.isfinite(value)


def shown(value: Any) -> str:
    """Return a refused value as a message shows it."""
    return f"{value!r}, which has more than 64 bits" if _is_too_long(value) else repr(value)


def _is_too_long(value: Any) -> bool:
    return isinstance(value, int) and not -(2**63) <= value < 2**63


def nodes_with_targets(node: Any) -> Iterator[DictConfig]:
    """Yield the node and all nodes within it that have a ``_target_``."""
    if isinstance(node, DictConfig) and node:
        if "_target_" in node:
            yield node
        for key in node:
            if not OmegaConf.is_missing(node, key):
                yield from nodes_with_targets(node[key])
    elif isinstance(node, ListConfig) and node:
        for value in node:
            yield from nodes_with_targets(value)


def _hints(target: str) -> dict[str, Any]:
    """Return the annotations of a target's arguments, that of ``**`` under :data:`OTHERS`.

    A foreign or unknown target has none.
    """
    if not target.startswith("nf_mnist."):
        return {}
    try:
        found = pkgutil.resolve_name(target)
        function: Callable[..., Any] = found.__init__ if inspect.isclass(found) else found
        parameters = inspect.signature(function).parameters.values()
        rest = next((part.name for part in parameters if part.kind is part.VAR_KEYWORD), None)
        return {OTHERS if name == rest else name: hint for name, hint in get_type_hints(function).items()}
    except Exception:  # building will say what is wrong with it
        return {}
