"""A level prior that knows nothing of how images were made: palettes, fitted to the training images.

A palette is a distribution over the levels above 0. Each image is thought of as having one of K palettes, by which all
its pixels are drawn, so an image is a draw from a mixture of multinomials.
"""

import torch
from torch import Tensor

from nf_mnist.bijectors.base import Shape
from nf_mnist.bijectors.level_prior import UNIT, LevelPrior, LevelTables
from nf_mnist.bijectors.quantile_map import N_LEVELS

N_FITTED = 20_000  # training images to which palettes are fitted
N_ITERATIONS = 30
SMOOTHING = 0.03  # share of the overall histogram in each palette
WORTH_OF_OVERALL = 50.0  # how many pixels the overall histogram counts for in each palette
HIGHEST = 127  # of the scores, which are kept as int8


class PalettePrior(LevelPrior):
    """Palettes as the states of a level prior, whose cells are all alike and whose grid is the whole image.

    Palettes are fitted by :meth:`fit` and are part of the weights. Before that each is the overall histogram.

    Args:
        n_palettes: Number of palettes.
        sides: Height and width of the images.
    """

    palettes: Tensor
    log_palette: Tensor

    def __init__(self, n_palettes: int, sides: Shape) -> None:
        palettes = torch.zeros(n_palettes, N_LEVELS - 1, dtype=torch.int8)
        log_palette = torch.zeros(n_palettes, dtype=torch.int8)
        everywhere = torch.arange(n_palettes)[:, None, None].expand(-1, *sides)
        super().__init__(LevelTables(palettes, everywhere, log_palette, torch.zeros(1, 1, 1, 1)))
        self.register_buffer("palettes", palettes)
        self.register_buffer("log_palette", log_palette)
        self.register_load_state_dict_post_hook(_renew)

    @torch.no_grad()
    def fit(self, levels: Tensor) -> None:
        """Fit the palettes by expectation maximization (Dempster et al. 1977).

        Args:
            levels: Training images, shape (n, 1, height, width) and dtype uint8; at most 20,000 of them are used.
        """
        counts = histograms(levels[:: -(-len(levels) // N_FITTED)]).to(self.log_state)
        average = shares(counts.sum(0))
        palettes, weights = fitted_mixture(counts, len(self.palettes), average)
        mixed = (1 - SMOOTHING) * palettes + SMOOTHING * average
        for own, ratio in ((self.palettes, mixed / average), (self.log_palette, weights)):
            own.copy_((ratio.log() / UNIT).round().clamp(-HIGHEST, HIGHEST))
        self.renew()

    def renew(self) -> None:
        """Write what is computed of palettes where the base class looks for it."""
        self.scores[:, 0, :-1] = self.palettes.T.to(self.scores)
        self.ratios[:-1] = (self.palettes.float() * UNIT).exp()  # in single precision, whatever the module's
        self.log_state[:-1] = self.log_palette.to(self.log_state)

    def _windows(self, inked: Tensor, stage: int, n: int) -> tuple[tuple[Tensor, Tensor], Tensor]:
        corner = torch.zeros(len(inked), 1, dtype=torch.long, device=inked.device)
        return (corner, corner), corner.to(self.log_state)


def _renew(prior: PalettePrior, _: object) -> None:
    prior.renew()


def histograms(levels: Tensor) -> Tensor:
    """Return how many pixels of each level above 0 an image has, shape (batch, 255), of images of dtype uint8."""
    counts = torch.zeros(len(levels), N_LEVELS, device=levels.device)
    ones = torch.ones((), device=levels.device)
    return counts.scatter_add_(1, levels.flatten(1).long(), ones.expand(len(levels), levels[0].numel()))[:, 1:]


def shares(counts: Tensor) -> Tensor:
    """Return counts as shares of their sum, smoothed by one pixel that is spread over all."""
    return (counts + 1 / counts.shape[-1]) / (counts.sum(-1, keepdim=True) + 1)


def fitted_mixture(counts: Tensor, n: int, average: Tensor) -> tuple[Tensor, Tensor]:
    """Fit a mixture of multinomials by expectation maximization; it begins with the histograms of some images.

    Args:
        counts: Histograms, shape (images, levels).
        n: Number of distributions in the mixture.
        average: Shares of levels in all images together, shape (levels,).

    Returns:
        The distributions, shape (n, levels), and how likely each is, shape (n,).
    """
    first = torch.arange(n, device=counts.device) * len(counts) // n
    sums, sizes = counts[first], counts.new_ones(n)
    for _ in range(N_ITERATIONS):
        distributions = (sums + WORTH_OF_OVERALL * average) / (sums.sum(1, keepdim=True) + WORTH_OF_OVERALL)
        weights = shares(sizes)
        belief = (counts @ distributions.log().T + weights.log()).softmax(1)
        sums, sizes = belief.T @ counts, belief.sum(0)
    return distributions, weights
