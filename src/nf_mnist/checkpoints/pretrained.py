"""Released weights: where they are, and a check that they are what was released."""

from importlib.resources import files
from pathlib import Path

from nf_mnist.checkpoints.checksums import SUMS_FILE, read_sums, sha256
from nf_mnist.errors import CheckpointError

PREFIX = "pretrained:"
WEIGHTS = Path(str(files("nf_mnist"))) / "assets" / "weights"


def pretrained_names() -> list[str]:
    """Return the names of all released weights."""
    return sorted(_checksums())


def checkpoint_path(path: str | Path) -> Path:
    """Return the file that ``ckpt=`` names: the released weights of ``pretrained:NAME``, or the path itself.

    Raises:
        CheckpointError: If no weights were released under that name, or the file differs from its checksum.
    """
    name = str(path)
    if not name.startswith(PREFIX):
        return Path(path)
    name = name.removeprefix(PREFIX)
    checksums = _checksums()
    if name not in checksums:
        raise CheckpointError(f"there are no released weights {name!r}; choose one of {', '.join(sorted(checksums))}")
    file = WEIGHTS / f"{name}.ckpt"
    if not file.is_file() or sha256(file.read_bytes()) != checksums[name]:
        raise CheckpointError(
            f"{file} is missing, or its SHA-256 is not the released {checksums[name]}; install nf_mnist again"
        )
    return file


def _checksums() -> dict[str, str]:
    """Return the checksums of released weights by their names."""
    return {Path(name).stem: checksum for name, checksum in read_sums((WEIGHTS / SUMS_FILE).read_text()).items()}
