"""Metropolis chains run side by side, and the draws that are taken from them."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from nf_mnist.errors import ConfigError
from nf_mnist.flows import Flow
from nf_mnist.inpainting.logits import Completions, log_prob_of_logits, to_logits
from nf_mnist.metrics.r_hat import N_NEEDED, largest_r_hat


class Chains(ABC):
    """Independent chains, one for each element of a batch; each adapts its own step.

    Args:
        state: What a chain is at: tensors whose first axis is the batch; the last is the log-density (or likelihood)
            that proposals are tested by.
        step: Size of a proposal to begin with.
        generator: Of proposals and tests, on the CPU.
    """

    target_acceptance: float
    largest_step = float("inf")

    def __init__(self, state: tuple[Tensor, ...], step: float, generator: torch.Generator) -> None:
        self.state, self.generator = state, generator
        self.step = torch.full_like(state[-1], step)
        self.is_sound = state[-1].isfinite()
        self.n_gradients = 0  # of each chain
        self._n_adapted, self._n_accepted, self._n_tested = 0, 0.0, 0

    @abstractmethod
    def propose(self) -> tuple[tuple[Tensor, ...], Tensor]:
        """Return a new state, and the logarithm of what it is accepted with, shape (batch,)."""

    @abstractmethod
    def images(self) -> Tensor:
        """Return the images that the chains are at, shape (batch, *event), observed pixels as they were given."""

    @property
    def acceptance(self) -> float:
        """Mean chance of proposals since :meth:`freeze`."""
        return self._n_accepted / max(self._n_tested, 1)

    def freeze(self) -> None:
        """End the adaptation; from here on proposals are counted."""
        self._n_accepted, self._n_tested = 0.0, 0

    def transition(self, adapts: bool) -> None:
        """Propose, and accept or stay; a chain that meets a value that is not a number stays for good."""
        proposal, log_ratio = self.propose()
        chance = self._chance(log_ratio)
        self.is_sound = self.is_sound & ~proposal[-1].isnan()
        accepted = torch.rand(len(chance), generator=self.generator).to(chance) < chance
        accepted = accepted & self.is_sound
        self.state = tuple(
            torch.where(accepted.reshape(-1, *[1] * (old.ndim - 1)), new, old)
            for new, old in zip(proposal, self.state, strict=True)
        )
        self._n_accepted += chance[self.is_sound].mean().item() if self.is_sound.any() else 0.0
        self._n_tested += 1
        if adapts:  # Robbins-Monro on the logarithm of the step
            self._n_adapted += 1
            change = self._n_adapted**-0.6 * (chance - self.target_acceptance)
            self.step = (self.step * change.exp()).clamp(max=self.largest_step)

    def _chance(self, log_ratio: Tensor) -> Tensor:
        """Return the probability to accept a proposal (Metropolis et al. 1953)."""
        return log_ratio.clamp(max=0).exp().nan_to_num(0.0)


def full_precision(x: Tensor) -> torch.autocast:
    """Return a context without autocast: bfloat16 errs by nats in log p, by which a test would accept or refuse."""
    return torch.autocast(x.device.type, enabled=False)


def check_counts(n_samples: int, n_chains: int, n_warmup: int, thinning: int) -> None:
    """Refuse numbers of chains, draws and transitions that do not fit together.

    Raises:
        ConfigError: Naming them.
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
        chains: ``n_chains`` for each image of a batch, all images of the first chain first.
        flow: By which completions are scored.
        observed: Which pixels are given, shape (1, height, width).
        n_samples: Draws of all chains of an image together; a multiple of ``n_chains``.
        n_chains: Chains per image.
        n_warmup: Transitions in which steps are adapted, not counted.
        thinning: Transitions between draws.

    Returns:
        Completions, all chains of the first draw first, whose report has ``acceptance`` and ``step`` (means over
        chains), ``stopped``: chains that met a value that is not a number; they stay at their last sound state, and,
        if there are draws enough, ``r_hat``, as :func:`~nf_mnist.metrics.r_hat.largest_r_hat` has it of the
        hidden pixels.
    """
    for _ in range(n_warmup):
        chains.transition(adapts=True)
    chains.freeze()
    found, values = [], []
    for _ in range(n_samples // n_chains):
        for _ in range(thinning):
            chains.transition(adapts=False)
        x = chains.images()
        found.append(x.unflatten(0, (n_chains, -1)))
        values.append(log_prob_of_logits(flow, to_logits(x))[1].unflatten(0, (n_chains, -1)))
    report = {
        "acceptance": chains.acceptance,
        "step": chains.step.mean().item(),
        "stopped": float((~chains.is_sound).sum()),
    }
    if len(found) >= N_NEEDED:
        report["r_hat"] = largest_r_hat(torch.stack(found, 1)[..., ~observed])
    return Completions(torch.cat(found), torch.cat(values), torch.stack(values), n_chains * chains.n_gradients, report)
