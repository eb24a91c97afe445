"""How likely each grey level is for each side m, white and cell of a resampled digit: tables counted beforehand.

``tools/count_level_tables.py`` makes them, of MNIST's training images and of bilevel shapes resampled to every m.
"""

import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from nf_mnist.data.resampling import N_INKS, SIDES, phases
from nf_mnist.errors import DataError

FILE = Path(__file__).parent.parent / "assets" / "levels" / "resampled.npz"
NAMES = ("log_ratio", "table_of", "log_state", "log_window")


def cell_tables() -> Tensor:
    """Return the number of the table of each state's cells, shape (states, 20, 20); rows and columns are alike.

    States are counted by m, then by what is white.
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
    """Return what :class:`nf_mnist.bijectors.level_prior.LevelTables` is made of.

    Raises:
        DataError: If the file cannot be read or lacks a table.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = [torch.from_numpy(file[name]) for name in NAMES if name != "table_of"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"cannot read level tables from {path}: {error}; restore it from the repository") from error
    log_ratio, log_state, log_window = arrays
    return log_ratio, cell_tables(), log_state, log_window
