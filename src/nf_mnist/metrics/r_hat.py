"""Convergence of Markov chains: split R-hat."""

import torch
from torch import Tensor

CONVERGED = 1.05  # the largest split R-hat of chains that count as converged
MIN_DRAWS = 4  # draws of each chain that split R-hat needs


def split_r_hat(draws: Tensor) -> Tensor:
    """Return split R-hat of each quantity (Gelman et al. 2013, "Bayesian Data Analysis", section 11.4).

    Each chain is cut in two halves; R-hat compares the variance between the halves with the variance within them. It is
    1 if the halves cannot be told apart. Above :data:`CONVERGED` or so the chains have not converged.

    Args:
        draws: Draws of each chain, shape (chains, draws, *quantities), with at least 4 draws.
    """
    half = draws.shape[1] // 2
    halves = torch.cat([draws[:, :half], draws[:, half : 2 * half]]).double()
    within = halves.var(1).mean(0)
    between = half * halves.mean(1).var(0)
    return (((half - 1) / half * within + between / half) / within).sqrt()


def largest_r_hat(draws: Tensor) -> float:
    """Return the largest split R-hat over the quantities of several targets. It is infinite if a chain never moves.

    A quantity that is the same in all draws of all chains, such as a pixel that is always black, has no R-hat and is
    left out.

    Args:
        draws: Draws of each chain, shape (chains, draws, targets, quantities), with at least 4 draws. Each target, such
            as an image, has chains of its own.
    """
    moves = (draws.isfinite() & (draws != draws[:, :1])).any(-1).any(1)
    if not moves.all():
        return torch.inf
    return split_r_hat(draws).nan_to_num(1.0, posinf=torch.inf).max().item()
