"""Metropolis chains that run side by side, and the draws taken from them."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from nf_mnist.errors import ConfigError
from nf_mnist.flows import Flow
from nf_mnist.inpainting.logits import Completions, log_prob_of_logits, to_logits
from nf_mnist.metrics.r_hat import MIN_DRAWS, largest_r_hat


class Chains(ABC):
    """A batch of independent chains. Each chain adapts its own step.

    Args:
        state: Current state of the chains: tensors whose first axis is the batch. The last one is the log-density (or
            log-likelihood) that the Metropolis test compares, shape (batch,).
        step: Initial step of a proposal.
        generator: CPU generator for proposals and tests.
    """

    target_acceptance: float
    largest_step = float("inf")

    def __init__(self, state: tuple[Tensor, ...], step: float, generator: torch.Generator) -> None:
        self.state, self.generator = state, generator
        self.step = torch.full_like(state[-1], step)
        self.is_running = state[-1].isfinite()
        self.n_gradients = 0  # of each chain
        self._n_adapted, self._sum_of_chances, self._n_tested = 0, state[-1].new_zeros((), dtype=torch.float64), 0

    @abstractmethod
    def propose(self) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return a proposed state, and the logarithm of its acceptance ratio, shape (batch,)."""

    @abstractmethod
    def images(self) -> Tensor:
        """Return the images of the current states, shape (batch, *event). Observed pixels keep their given values."""

    @property
    def acceptance(self) -> float:
        """Mean acceptance probability of the proposals since :meth:`freeze`."""
        return self._sum_of_chances.item() / max(self._n_tested, 1)

    def freeze(self) -> None:
        """End the adaptation of steps, and count proposals from here on."""
        self._sum_of_chances, self._n_tested = torch.zeros_like(self._sum_of_chances), 0

    def transition(self, adapts: bool) -> None:
        """Propose a state for each chain and accept or reject it. A chain whose proposal is NaN stops for good."""
        proposal, log_ratio = self.propose()
        chance = self._chance(log_ratio)
        self.is_running = self.is_running & ~proposal[-1].isnan()
        accepted = torch.rand(len(chance), generator=self.generator).to(chance) < chance
        accepted = accepted & self.is_running
        self.state = tuple(
            torch.where(accepted.reshape(-1, *[1] * (old.ndim - 1)), new, old)
            for new, old in zip(proposal, self.state, strict=True)
        )
        sum_of_chances = torch.where(self.is_running, chance, 0.0).sum()
        self._sum_of_chances += sum_of_chances / self.is_running.sum().clamp(min=1)  # no number leaves the device
        self._n_tested += 1
        if adapts:
            self._adapt(chance)

    def _adapt(self, chance: Tensor) -> None:
        """Move the logarithm of each step towards the target acceptance (Robbins & Monro 1951)."""
        self._n_adapted += 1
        change = self._n_adapted**-0.6 * (chance - self.target_acceptance)
        self.step = (self.step * change.exp()).clamp(max=self.largest_step)

    def _chance(self, log_ratio: Tensor) -> Tensor:
        """Return the probability of accepting a proposal (Metropolis et al. 1953)."""
        return log_ratio.clamp(max=0).exp().nan_to_num(0.0)


def full_precision(x: Tensor) -> torch.autocast:
    """Return a context without autocast: in bfloat16, log p errs by nats, which would decide the Metropolis test."""
    return torch.autocast(x.device.type, enabled=False)


def check_chain_lengths(n_samples: int, n_chains: int, n_warmup: int, thinning: int) -> None:
    """Check that the numbers of chains, draws and transitions fit together.

    Raises:
        ConfigError: If they do not.
    """
    if min(n_chains, thinning) < 1 or n_warmup < 0 or n_samples % n_chains:
        raise ConfigError(
            f"n_samples must be a multiple of n_chains, and counts positive, got {n_samples=}, {n_chains=}, "
            f"{n_warmup=} and {thinning=}"
        )


@torch.no_grad()
def draw(
    chains: Chains, flow: Flow, observed: Tensor, *, n_samples: int, n_chains: int, n_warmup: int, thinning: int
) -> Completions:
    """Warm the chains up, freeze their steps, and take draws.

    Args:
        chains: ``n_chains`` for each image of a batch. All images of the first chain come first.
        flow: The flow that scores the completions.
        observed: Boolean mask of the observed pixels, shape (1, height, width).
        n_samples: Number of draws of each image, over all its chains; a multiple of ``n_chains``.
        n_chains: Number of chains for each image.
        n_warmup: Number of transitions that adapt the steps. They yield no draws.
        thinning: Number of transitions between draws.

    Returns:
        Completions; the first draws of all chains come first. The report has ``acceptance`` and ``step`` (means over
        chains), ``stopped`` (the number of chains that met NaN; they keep their last finite state) and, if there are
        enough draws, ``r_hat`` of the hidden pixels (see :func:`~nf_mnist.metrics.r_hat.largest_r_hat`).
    """
    for _ in range(n_warmup):
        chains.transition(adapts=True)
    chains.freeze()
    draws, values = [], []
    for _ in range(n_samples // n_chains):
        for _ in range(thinning):
            chains.transition(adapts=False)
        x = chains.images()
        draws.append(x.unflatten(0, (n_chains, -1)))
        values.append(log_prob_of_logits(flow, to_logits(x))[1].unflatten(0, (n_chains, -1)))
    report = {
        "acceptance": chains.acceptance,
        "step": chains.step.mean().item(),
        "stopped": float((~chains.is_running).sum()),
    }
    if len(draws) >= MIN_DRAWS:
        report["r_hat"] = largest_r_hat(torch.stack(draws, 1)[..., ~observed])
    return Completions(torch.cat(draws), torch.cat(values), torch.stack(values), n_chains * chains.n_gradients, report)
