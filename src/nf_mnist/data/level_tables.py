"""How likely each grey level is for each side m, white and cell of a resampled digit: tables counted beforehand.

``python -m tools.count_level_tables`` makes them from MNIST's training images and from bilevel shapes resampled to
every m.
"""

import io
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nf_mnist.checkpoints.checksums import SUMS_FILE, read_sums, sha256
from nf_mnist.data.resampling import N_INKS, SIDES, phases
from nf_mnist.errors import DataError

FOLDER = Path(str(files("nf_mnist"))) / "assets" / "levels"
FILE = FOLDER / "resampled.npz"
NAMES = ("log_ratio", "log_state", "log_window")


def cell_tables() -> Tensor:
    """Return the index of the table of each state and cell, shape (states, 20, 20); rows and columns are alike.

    States are in the order of m, then of what is white.
    """
    tables, n_tables = [], 0
    for m in SIDES:
        phase = phases(m)
        n_phases = int(phase.max()) + 1
        low, high = torch.minimum(phase[:, None], phase), torch.maximum(phase[:, None], phase)
        pair = high * (high + 1) // 2 + low
        for _ in range(N_INKS):
            tables.append(n_tables + pair)
            n_tables += n_phases * (n_phases + 1) // 2
    return torch.stack(tables)


def read_level_tables(path: str | Path = FILE) -> tuple[Tensor, ...]:
    """Return the fields of :class:`nf_mnist.bijectors.level_prior.LevelTables`.

    Args:
        path: The file of the tables; ``SHA256SUMS`` beside it has its checksum.

    Raises:
        DataError: If the file is missing, or does not have its checksum.
    """
    with np.load(io.BytesIO(_checked(Path(path))), allow_pickle=False) as arrays:
        log_ratio, log_state, log_window = (torch.from_numpy(arrays[name]) for name in NAMES)
    return log_ratio, cell_tables(), log_state, log_window


def _checked(path: Path) -> bytes:
    """Return the content of a file, if that has the checksum of the file ``SHA256SUMS`` beside it."""
    try:
        content, sums = path.read_bytes(), (path.parent / SUMS_FILE).read_text()
    except OSError as error:
        raise DataError(f"cannot read the level tables {path}: {error}; install nf_mnist again") from error
    found = sha256(content)
    if read_sums(sums).get(path.name) != found:
        raise DataError(f"{path} is damaged: its SHA-256 is {found}, not that of {SUMS_FILE}; install nf_mnist again")
    return content
