"""Count the tables of grey levels: ``python -m tools.count_level_tables [OUT]``, a minute on one core.

Shapes are training images enlarged to m x m and thresholded; resampled, they tell what levels a cell can take. Then
each training image is given its most likely m, white and window, and its pixels are counted as well. ``SHA256SUMS``
beside the file is written, too.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from nf_mnist.bijectors import PixelGrid
from nf_mnist.bijectors.level_prior import UNIT, WHOLE_IMAGE, Belief, LevelPrior, LevelTables, ink_extent
from nf_mnist.bijectors.placed_prior import known_image
from nf_mnist.checkpoints.checksums import SUMS_FILE, sha256
from nf_mnist.data import mnist, split
from nf_mnist.data.level_tables import FILE, cell_tables
from nf_mnist.data.resampling import FLOAT_ERROR, GRID, N_INKS, SIDE, SIDES, inks, shares_of_ink, to_grey, window
from nf_mnist.flows.geometry import CHANNEL_ORDER

N_SHAPES = 6000
N_VALIDATION, SPLIT_SEED = 10_000, 0
N_OFFSETS = SIDE - GRID + 1
WORTH_OF_OVERALL, WORTH_OF_SHAPES = 20.0, 150.0  # how many pixels the overall tables and the shapes' count for
SMOOTHING = 0.03  # share of the overall histogram in each table
BATCH = 1000


def main() -> None:
    """Count and write."""
    levels = split(mnist().train, N_VALIDATION, SPLIT_SEED)[1].levels
    overall = torch.bincount(levels.flatten().long(), minlength=256)[1:].double()
    table_of = cell_tables()
    of_shapes = count_shapes(levels[:N_SHAPES], table_of)
    n_states = len(table_of)
    tables = LevelTables(log_ratios(of_shapes, 0.0, overall, table_of), table_of, torch.zeros(n_states), centred())
    for _ in range(2):
        counts, states, offsets = count_images(levels, tables)
        log_state = ((states + 0.3) / (states + 0.3).sum()).log() / UNIT
        log_ratio = log_ratios(of_shapes, counts, overall, table_of)
        tables = LevelTables(log_ratio, table_of, log_state.round(), count_windows(levels, offsets))
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else FILE
    out.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: getattr(tables, name).numpy().astype(np.int8) for name in ("log_ratio", "log_state", "log_window")}
    np.savez_compressed(out, **arrays)
    checksum = sha256(out.read_bytes())
    (out.parent / SUMS_FILE).write_text(f"{checksum}  {out.name}\n")
    print(f"{out}: {out.stat().st_size / 1e6:.2f} MB")


def count_shapes(images: Tensor, table_of: Tensor) -> Tensor:
    """Return how often shapes have each level, shape (tables, 256), whatever is white."""
    extents = [ink_extent((images[:, 0] > 0).any(axis)) for axis in (2, 1)]
    top, left = (((first + end - GRID + 1) // 2).clamp(0, SIDE - GRID) for first, end in extents)
    cells = window(images, top, left).float() / 255
    counts = torch.zeros(int(table_of.max()) + 1, 256)
    for number, m in enumerate(SIDES):
        for part in cells.split(BATCH):
            bilevel = F.interpolate(part[:, None], (m, m), mode="bilinear")[:, 0] > 0.5
            for ink, tables in zip(inks(m), table_of[N_INKS * number :], strict=False):
                for error in (-FLOAT_ERROR, FLOAT_ERROR):  # single precision may round either way
                    level = to_grey(shares_of_ink(bilevel) * (1 + error), ink).long()
                    _add(counts, tables.expand_as(level), level)
    return counts


def count_images(levels: Tensor, tables: LevelTables) -> tuple[Tensor, Tensor, Tensor]:
    """Return how often images have each level, shape (tables, 256), and states; and where their windows are, (n, 2)."""
    counts, states = torch.zeros(len(tables.log_ratio), 256), torch.zeros(len(tables.table_of))
    offsets = []
    for images, belief in beliefs(levels, tables):
        top, left, state = belief.top[:, 0], belief.left[:, 0], belief.state[:, 0]
        offsets.append(torch.stack([top, left], 1))
        fits = state < len(states)
        states += torch.bincount(state[fits], minlength=len(states))
        _add(counts, tables.table_of[state[fits]], window(images[fits], top[fits], left[fits]).long())
    return counts, states, torch.cat(offsets)


def beliefs(levels: Tensor, tables: LevelTables) -> Iterator[tuple[Tensor, Belief]]:
    """Yield images and the most likely state and window of each."""
    prior = LevelPrior(tables)
    for images in levels.split(BATCH):
        yield images, prior.believe(images[:, 0].float(), WHOLE_IMAGE, n_states=1)


def log_ratios(shapes: Tensor, images: Tensor | float, overall: Tensor, table_of: Tensor) -> Tensor:
    """Return the tables of levels 1 .. 255 over the overall histogram's, in units, of counts of either kind."""
    state_of = torch.zeros(len(shapes), dtype=torch.long)
    state_of[table_of.flatten(1)] = torch.arange(len(table_of))[:, None]
    of_state = torch.zeros(len(table_of), 256).index_add_(0, state_of, shapes)
    of_state = _shares(of_state[:, 1:], 1e-9)[state_of]
    shares = _shares(shapes[:, 1:] + WORTH_OF_OVERALL * of_state)
    counts = images[:, 1:] if isinstance(images, Tensor) else images
    shares = _shares(counts + WORTH_OF_SHAPES * shares)
    average = (overall / overall.sum()).float()
    mixed = (1 - SMOOTHING) * shares + SMOOTHING * average
    return ((mixed / average).log() / UNIT).round()


def centred() -> Tensor:
    """Return log-probabilities of offsets: windows contain the ink, and its middle is theirs. Shape of ``log_window``.

    One for each set of known pixels of a hierarchy, where images are whole; then one for whole images, and one for any
    part of them.
    """
    first, last, offset = torch.meshgrid(*(torch.arange(n) for n in (SIDE, SIDE + 1, N_OFFSETS)), indexing="ij")
    last = last - 1
    score = -4.0 * (2 * offset - (first + last - GRID + 1)).abs()
    outside = (offset - first).clamp(min=0) + (last - offset - GRID + 1).clamp(min=0)
    return (score - 16 * outside).clamp(min=-100).expand(8, -1, -1, -1)


def count_windows(levels: Tensor, offsets: Tensor) -> Tensor:
    """Return log-probabilities of offsets given where known pixels have ink, shape of ``log_window``."""
    formula = (UNIT * centred()[0]).softmax(-1)
    overall = torch.bincount(offsets.flatten(), minlength=N_OFFSETS) / offsets.numel()
    found = []
    for is_known in [*known_in_hierarchy(), torch.ones(SIDE, SIDE, dtype=torch.bool)]:
        counts = torch.zeros(SIDE, SIDE + 1, N_OFFSETS)
        inked = (levels[:, 0] > 0) & is_known
        for axis in (0, 1):
            first, end = ink_extent(inked.any(2 - axis))
            counts.index_put_((first, end, offsets[:, axis]), torch.tensor(1.0), accumulate=True)
        found.append((counts + formula) / (counts + formula).sum(-1, keepdim=True))
    first, last, offset = torch.meshgrid(*(torch.arange(n) for n in (SIDE, SIDE + 1, N_OFFSETS)), indexing="ij")
    outside = (offset - first).clamp(min=0) + (last - 1 - offset - GRID + 1).clamp(min=0)
    found.append(torch.where(last == 0, 1.0, 10.0**-outside) * (overall + 1e-3))
    return (torch.stack(found).log() / UNIT).round().clamp(min=-100)


def known_in_hierarchy() -> Iterator[Tensor]:
    """Yield which pixels each coupling of a hierarchy knows, shape (28, 28): fine to coarse, 1 to 3 channels."""
    grid = PixelGrid.whole()
    for _ in range(2):
        grid = grid.squeezed().select(CHANNEL_ORDER)
        side = SIDE // grid.stride
        for n_kept in (1, 2, 3):
            yield known_image(torch.ones(1, n_kept, side, side), grid)[0] > 0
        grid = grid.select([0])


def _add(counts: Tensor, tables: Tensor, levels: Tensor) -> None:
    keys = (tables * 256 + levels).flatten()
    counts += torch.bincount(keys, minlength=counts.numel()).unflatten(0, counts.shape)


def _shares(counts: Tensor, least: float = 0.0) -> Tensor:
    counts = counts + least
    return counts / counts.sum(-1, keepdim=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
