"""How the runs of a sweep are called."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

# What says where and how a run is made, and not what it is.
NO_SETTINGS = ("output_dir", "launcher")


def settings(overrides: Iterable[str]) -> list[str]:
    """Return the overrides that make a run what it is, without those of the folder and the launcher."""
    return [text for text in overrides if key_of(text) not in NO_SETTINGS]


def key_of(override: str) -> str:
    """Return the name of the setting that an override changes."""
    return override.lstrip("+~").partition("=")[0]


def folder_override(key: str, folder: Path) -> str:
    """Return the override that sets a key to a folder, quoted for Hydra whatever its name holds."""
    quoted = str(folder).replace("\\", "\\\\").replace("'", "\\'")
    return f"{key}='{quoted}'"


def run_name(overrides: Iterable[str]) -> str:
    """Return the name of a run's folder: ten hexadecimal digits that depend on its settings alone, in any order."""
    return hashlib.sha256("\n".join(sorted(settings(overrides))).encode()).hexdigest()[:10]
