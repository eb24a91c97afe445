"""What the known pixels of an image say about the grey levels of the others.

Images are thought of as made by one of several *states*, each of which gives every *cell* of a grid a distribution
over the levels above 0; the grid lies somewhere in the image, in its *window*. The log of the posterior of states and
windows is a sum over known pixels, and mixing the states' distributions by it predicts any other pixel. For MNIST a
state is the side m of the bilevel digit and what was white (:mod:`nf_mnist.data.resampling`); its cells are resampled
pixels.

Scores are whole numbers in units of ``UNIT`` nats, so that sums are exact in floating point, and encoding and decoding
find the same most likely states, whatever the order of summation.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nf_mnist.errors import DataError

UNIT = 1 / 8  # nats
WHOLE_IMAGE, ANY_PART = -2, -1  # indices of the stages at which whole images are known, and any part of them
N_CHECKED = 200  # training images that are looked at
MAX_UNEXPLAINED = 0.25  # largest share of images that may fit no state; MNIST has 0.002, all others tried above 0.6
LOG_NEUTRAL = -16  # log-probability of the neutral state, in units; lower and higher ones gave more bits
OUTSIDE = -16  # score of an inked pixel outside the window, in units: two nats in every state but the neutral one


class LevelTables(NamedTuple):
    """The tables of a level prior, in units of UNIT nats.

    Attributes:
        log_ratio: Log-probability of levels 1 .. 255 over that of an average pixel above 0, shape (tables, 255).
        table_of: Index of the table of each state and cell, shape (states, rows, columns).
        log_state: Log-probability of each state, shape (states,).
        log_window: Log-probability of each offset of the window on an axis, given the first and the last line that are
            known to have ink; shape (stages, side, side + 1, offsets), indexed by stage, first and last + 1.
    """

    log_ratio: Tensor
    table_of: Tensor
    log_state: Tensor
    log_window: Tensor


class Belief(NamedTuple):
    """The most likely states and windows of each image, shape (batch, n) each, and their probabilities."""

    weight: Tensor
    state: Tensor
    top: Tensor
    left: Tensor


class LevelPrior(nn.Module):
    """Predicts grey levels from known ones.

    A neutral state, of an average pixel's distribution, is added to the given ones, so that what fits none of them is
    left as it is.

    Args:
        tables: Tables of the states.
        log_neutral: Log-probability of the neutral state, in units.
    """

    scores: Tensor
    ratios: Tensor
    table_of: Tensor
    kind: Tensor
    log_state: Tensor
    log_window: Tensor

    def __init__(self, tables: LevelTables, log_neutral: int = LOG_NEUTRAL) -> None:
        super().__init__()
        log_ratio = torch.cat([tables.log_ratio, torch.zeros_like(tables.log_ratio[:1])])
        # The neutral table is the last; it is that of the neutral state, and of every cell outside of the grid.
        table_of = F.pad(tables.table_of.long(), (0, 1, 0, 1, 0, 1), value=len(tables.log_ratio))
        cells, kind = table_of[:, :-1, :-1].flatten(1).unique(dim=1, return_inverse=True)
        scores = F.pad(log_ratio[cells].permute(2, 1, 0).float(), (0, 0, 0, 1), value=OUTSIDE)
        scores[:, -1, -1] = 0
        buffers = {
            "scores": scores,
            "ratios": (log_ratio * UNIT).exp(),
            "table_of": table_of,
            "kind": F.pad(kind.unflatten(0, table_of[0, :-1, :-1].shape), (0, 1, 0, 1), value=cells.shape[1]),
            "log_state": F.pad(tables.log_state.float(), (0, 1), value=log_neutral),
            "log_window": tables.log_window.float(),
        }
        for name, value in buffers.items():
            self.register_buffer(name, value, persistent=False)

    @torch.no_grad()
    def believe(self, known: Tensor, stage: int, n_windows: int = 9, n_states: int = 16) -> Belief:
        """Return the posterior of states and windows, given some pixels of each image.

        Args:
            known: Levels, shape (batch, height, width); 0 where a pixel is black or unknown.
            stage: Index of the set of known pixels in ``log_window``.
            n_windows: Number of windows that are considered, the most likely ones given where ink is known to be.
            n_states: Number of pairs of state and window that are mixed, the most likely ones.
        """
        image, row, column = known.nonzero(as_tuple=True)
        (top, left), log_window = self._windows(known > 0, stage, n_windows)
        kind = self.kind[self._cell(row, top[image], 0), self._cell(column, left[image], 1)]
        keys = (known[image, row, column].long() - 1)[:, None] * self.scores.shape[1] + kind
        begins = torch.searchsorted(image, torch.arange(len(known), device=image.device))
        table = self.scores.flatten(0, 1)
        totals = torch.stack([F.embedding_bag(key, table, begins, mode="sum") for key in keys.T.contiguous()], 1)
        score, best = _highest((totals + log_window[:, :, None] + self.log_state).flatten(1), n_states)
        window, state = best // len(self.log_state), best % len(self.log_state)
        return Belief((score * UNIT).softmax(1), state, top.gather(1, window), left.gather(1, window))

    def fit(self, levels: Tensor) -> None:
        """Fit the states to training images; tables that were counted beforehand only have to explain them.

        Args:
            levels: Whole images, shape (n, 1, height, width) and dtype uint8.

        Raises:
            DataError: If too many images fit no state.
        """
        if reason := self.misfit(levels):
            raise DataError(
                f"the level prior does not fit the data: {reason}; use model.flow.level_prior=palettes or none"
            )

    def misfit(self, levels: Tensor) -> str:
        """Return why the states do not explain images: the neutral one is the most likely of all too often; else ''.

        Args:
            levels: Whole images, shape (n, 1, height, width) and dtype uint8; at most 200 of them are looked at.
        """
        some = levels[:: -(-len(levels) // N_CHECKED), 0].float()
        belief = self.believe(some, WHOLE_IMAGE)
        share = (belief.state[:, 0] == len(self.log_state) - 1).float().mean().item()
        if share <= MAX_UNEXPLAINED:
            return ""
        return f"{share:.0%} of {len(some)} training images have grey levels that it does not explain"

    @torch.no_grad()
    def log_ratio(self, belief: Belief, image: Tensor, row: Tensor, column: Tensor) -> Tensor:
        """Return the log-probability of levels 1 .. 255 over that of an average pixel, in nats, shape (n, 255).

        Args:
            belief: Posterior of states and windows of a batch of images.
            image: Index in the batch of the image of each pixel, shape (n,).
            row: Row of each pixel in its image, shape (n,).
            column: Column of each pixel in its image, shape (n,).
        """
        rows = self._cell(row, belief.top[image], 0)
        columns = self._cell(column, belief.left[image], 1)
        tables = self.table_of[belief.state[image], rows, columns]
        return F.embedding_bag(tables, self.ratios, per_sample_weights=belief.weight[image], mode="sum").log()

    def _windows(self, inked: Tensor, stage: int, n: int) -> tuple[tuple[Tensor, Tensor], Tensor]:
        """Return the offsets of the n most likely windows, shape (batch, n) each, and their log-probabilities."""
        rows, columns = (self.log_window[stage][ink_extent(inked.any(axis))] for axis in (2, 1))
        log_window, window = _highest((rows[:, :, None] + columns[:, None, :]).flatten(1), n)
        n_offsets = columns.shape[1]
        return (window // n_offsets, window % n_offsets), log_window

    def _cell(self, place: Tensor, offset: Tensor, axis: int) -> Tensor:
        """Return the cells of places, shape (n,), by offsets, shape (n, offsets); one beyond the last where none is."""
        cell, n_cells = place[:, None] - offset, self.kind.shape[axis] - 1
        return torch.where((cell >= 0) & (cell < n_cells), cell, n_cells)


def ink_extent(inked: Tensor) -> tuple[Tensor, Tensor]:
    """Return the first line with ink and one more than the last, by which ``log_window`` is indexed.

    Args:
        inked: Whether each line of an axis has ink, shape (batch, lines) and dtype bool.

    Returns:
        Two line numbers for each image, shape (batch,); both are 0 for an image without ink.
    """
    first, from_end = inked.int().argmax(1), inked.flip(1).int().argmax(1)
    return first, torch.where(inked.any(1), inked.shape[1] - from_end, 0)


def _highest(scores: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Return the n highest of each row of whole numbers, and where they are; of equal ones the first."""
    width = scores.shape[1]
    ranks = scores.long() * width - torch.arange(width, device=scores.device)
    best = ranks.topk(min(n, width), 1).indices
    return scores.gather(1, best), best
