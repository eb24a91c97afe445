"""Where the output of a command goes: nothing that exists is overwritten, and every file is written whole."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from nf_mnist.checkpoints.writing import atomic_write
from nf_mnist.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_path(path: str | Path) -> Path:
    """Return a path at which there is nothing yet; its parent folder is made.

    Raises:
        ConfigError: If something is there already.
    """
    path = Path(path)
    if path.exists():
        raise ConfigError(f"{path} exists already; remove it, or choose another name with out=")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def new_figure_path(setting: str, path: str) -> Path:
    """Return the path of a new picture; its suffix is the format.

    Args:
        setting: The setting that names the picture, for the message.
        path: Its path.

    Raises:
        ConfigError: If the suffix is of no picture, or something is there already.
    """
    from matplotlib.backend_bases import FigureCanvasBase  # 0.5 s, for those who want a picture

    if _format(Path(path)) not in FigureCanvasBase.filetypes:
        raise ConfigError(f"{setting}={path} has no ending of a picture; give it one, such as .png, .svg or .pdf")
    return new_path(path)


def write_figure(path: Path, figure: "Figure") -> None:
    """Write a matplotlib figure in the format of the path's suffix."""
    atomic_write(path, lambda file: figure.savefig(file, dpi=100, format=_format(path)))


def write_image(path: Path, image: Tensor) -> None:
    """Write an image with values in [0, 1], shape (channels, height, width), as PNG."""
    from torchvision.utils import save_image  # 2 s, for those who want a picture

    atomic_write(path, lambda file: save_image(image, file, format="png"))


def _format(path: Path) -> str:
    return path.suffix.removeprefix(".").lower()


def csv_of(metrics: Mapping[str, Tensor]) -> str:
    """Return metrics of images, each of shape (n,), as CSV with a line for each image."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["image", *metrics])
    columns = [values.tolist() for values in metrics.values()]
    for number, row in enumerate(zip(*columns, strict=True)):
        writer.writerow([number, *(f"{value:.6g}" for value in row)])
    return text.getvalue()
