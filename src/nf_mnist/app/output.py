"""Where the output of a command goes: nothing that exists is overwritten, and every file is written whole."""

import contextlib
import csv
import hashlib
import io
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from torch import Tensor

from nf_mnist.checkpoints.writing import create_file, create_folder, json_text, user_folder
from nf_mnist.errors import ConfigError, first_line

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_reserved = contextlib.ExitStack()  # the locks of all paths that the present command will write to


def new_path(path: str | Path) -> Path:
    """Return a path at which there is nothing yet, and reserve it.

    Its parent folder is made, which shows early that it can be, and removed again if nothing is written into it.

    Raises:
        ConfigError: If something is there already, or another command or another setting of this one has reserved it.
    """
    path = Path(path)
    lock = FileLock(user_folder() / f"{hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:32]}.lock")
    try:
        _reserved.enter_context(lock.acquire(blocking=False))
    except Timeout:
        raise ConfigError(
            f"{path} is the output of a command that is under way, or of two settings; choose another name"
        ) from None
    if os.path.lexists(path):
        raise ConfigError(f"{path} exists already; remove it, or choose another name with out=")
    made = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    _reserved.callback(_remove_empty, made)
    return path


def _remove_empty(folders: Iterable[Path]) -> None:
    with contextlib.suppress(OSError):  # one that is not empty, and so all that hold it
        for folder in folders:
            folder.rmdir()


def release_paths() -> None:
    """Give up the paths that :func:`new_path` has reserved; remove folders that it has made in vain."""
    _reserved.close()


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Make the folder for a result and yield it; if the block fails, as on a full disk, the folder is removed again.

    It has another name if ``path`` was taken while the command ran.
    """
    folder = _announced(path, create_folder(path))
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def new_json(path: Path, content: Any) -> Path:
    """Write a result as JSON into a new file; see :func:`new_file`."""
    return new_file(path, lambda file: file.write(json_text(content).encode()))


def new_file(path: Path, write: Callable[[IO[bytes]], Any]) -> Path:
    """Let ``write`` fill a new file and return it; it has another name if ``path`` was taken while the command ran."""
    return _announced(path, create_file(path, write))


def _announced(path: Path, created: Path) -> Path:
    if created != path:
        print(f"warning: {path} was made while the command ran; the result is in {created}", file=sys.stderr)
    return created


def new_figure_path(setting: str, path: str) -> Path:
    """Return the path of a new picture; its suffix is the format.

    Args:
        setting: The setting that names the picture, for the message.
        path: Its path.

    Raises:
        ConfigError: If pictures cannot be written in this format, or something is there already.
    """
    from matplotlib.figure import Figure  # 0.5 s, for those who want a picture

    trial = Figure()
    trial.text(0, 0, setting)  # some formats need a program that measures text, such as LaTeX
    try:
        trial.savefig(io.BytesIO(), format=_format(Path(path)))
    except Exception as error:  # whatever a format's own library raises
        raise ConfigError(
            f"{setting}={path} has no ending of a picture that can be written here ({first_line(error)}); give it one, "
            "such as .png, .svg or .pdf"
        ) from None
    return new_path(path)


def write_figure(path: Path, figure: "Figure") -> Path:
    """Write a matplotlib figure in the format of the path's suffix; see :func:`new_file`."""
    return new_file(path, lambda file: figure.savefig(file, dpi=100, format=_format(path)))


def write_image(path: Path, image: Tensor) -> Path:
    """Write an image with values in [0, 1], shape (channels, height, width), as PNG; see :func:`new_file`."""
    from torchvision.utils import save_image  # 2 s, for those who want a picture

    return new_file(path, lambda file: save_image(image, file, format="png"))


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
