"""Where the output of a command goes: nothing that exists is overwritten."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from nf_mnist.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor


def new_path(path: str | Path) -> Path:
    """Return the path, its parent folder made.

    Raises:
        ConfigError: If something is there already.
    """
    path = Path(path)
    if path.exists():
        raise ConfigError(f"{path} exists already; remove it, or choose another name with out=")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def csv_of(metrics: "Mapping[str, Tensor]") -> str:
    """Return metrics of images, each of shape (n,), as CSV with a line for each image."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["image", *metrics])
    columns = [values.tolist() for values in metrics.values()]
    for number, row in enumerate(zip(*columns, strict=True)):
        writer.writerow([number, *(f"{value:.6g}" for value in row)])
    return text.getvalue()
