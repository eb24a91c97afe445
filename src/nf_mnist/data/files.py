"""Reading files that users name."""

from pathlib import Path


def check_regular_file(path: str | Path) -> None:
    """Check that reading a path ends, which reading a pipe or a device may not; a missing file passes.

    Raises:
        OSError: If the path names a folder, a pipe or a device.
    """
    if Path(path).exists() and not Path(path).is_file():
        raise OSError("it is no regular file")
