"""What the modules of tables share: reading ``results/``, and writing Markdown tables."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
TRAINING_IMAGES = 50_000  # in an epoch


def read_result(name: str) -> Any:
    """Return the content of ``results/NAME.json``."""
    return json.loads((ROOT / "results" / f"{name}.json").read_text())


def short_hardware(row: dict[str, Any]) -> str:
    """Return the hardware of a row without the version of torch."""
    return row["hardware"].rpartition(", torch")[0]


def table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Return a Markdown table; bars in cells are escaped."""
    lines = ([cell.replace("|", "\\|") for cell in line] for line in (columns, ("---",) * len(columns), *rows))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
