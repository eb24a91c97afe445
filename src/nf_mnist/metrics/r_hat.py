"""Have the chains met? Split R-hat."""

import torch
from torch import Tensor

CONVERGED = 1.05  # the largest split R-hat of chains that have met
N_NEEDED = 4  # draws of a chain


def split_r_hat(draws: Tensor) -> Tensor:
    """Return split R-hat of each quantity (Gelman et al. 2013, "Bayesian Data Analysis", section 11.4).

    Each chain is cut in two; R-hat compares the variance between the halves with that within them. 1 means that
    they cannot be told apart; above :data:`CONVERGED` or so they have not met.

    Args:
        draws: Shape (chains, draws, *quantities), at least 4 draws.
    """
    half = draws.shape[1] // 2
    halves = torch.cat([draws[:, :half], draws[:, half : 2 * half]]).double()
    within = halves.var(1).mean(0)
    between = half * halves.mean(1).var(0)
    return (((half - 1) / half * within + between / half) / within).sqrt()


def largest_r_hat(draws: Tensor) -> float:
    """Return the largest split R-hat of the quantities of several targets, infinite if a chain does not move at all.

    A quantity that is the same in all draws of all chains, such as a pixel that is always black, has none and is left
    out.

    Args:
        draws: Shape (chains, draws, targets, quantities), at least 4 draws.
    """
    moves = (draws.isfinite() & (draws != draws[:, :1])).any(-1).any(1)
    if not moves.all():
        return torch.inf
    return split_r_hat(draws).nan_to_num(1.0, posinf=torch.inf).max().item()
