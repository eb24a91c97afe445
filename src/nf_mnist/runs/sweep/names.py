"""The names of runs in a sweep, and the overrides that they depend on."""

import hashlib
from collections.abc import Iterable

# Overrides that say where and how a run is made; they do not change the run.
LOCATION_OVERRIDES = ("output_dir", "launcher")


def settings(overrides: Iterable[str]) -> list[str]:
    """Return the overrides that change a run: all except those for the folder and the launcher."""
    return [text for text in overrides if key_of(text) not in LOCATION_OVERRIDES]


def key_of(override: str) -> str:
    """Return the name of the setting that an override changes."""
    return override.lstrip("+~").partition("=")[0]


def run_name(overrides: Iterable[str]) -> str:
    """Return the name of a run's folder: ten hexadecimal digits that depend only on its settings, in any order."""
    return hashlib.sha256("\n".join(sorted(settings(overrides))).encode()).hexdigest()[:10]
