"""Have the chains met? Split R-hat."""

import torch
from torch import Tensor


def split_r_hat(draws: Tensor) -> Tensor:
    """Return split R-hat of each quantity (Gelman et al. 2013, "Bayesian Data Analysis", section 11.4).

    Each chain is cut in two; R-hat compares the variance between the halves with that within them. 1 means that
    they cannot be told apart; above 1.05 or so they have not met.

    Args:
        draws: Shape (chains, draws, *quantities), at least 4 draws.
    """
    half = draws.shape[1] // 2
    halves = torch.cat([draws[:, :half], draws[:, half : 2 * half]]).double()
    within = halves.var(1).mean(0)
    between = half * halves.mean(1).var(0)
    return (((half - 1) / half * within + between / half) / within).sqrt()
