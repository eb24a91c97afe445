"""How the runs of a sweep are called."""

import hashlib
from collections.abc import Iterable

# What says where and how a run is made, and not what it is.
NO_SETTINGS = ("output_dir", "launcher", "ckpt", "rerun")


def settings(overrides: Iterable[str]) -> list[str]:
    """Return the overrides that make a run what it is, without those of the folder and the launcher."""
    return [text for text in overrides if text.lstrip("+~").partition("=")[0] not in NO_SETTINGS]


def run_name(overrides: Iterable[str]) -> str:
    """Return the name of a run's folder: ten hexadecimal digits that depend on its settings alone, in any order."""
    return hashlib.sha256("\n".join(sorted(settings(overrides))).encode()).hexdigest()[:10]
