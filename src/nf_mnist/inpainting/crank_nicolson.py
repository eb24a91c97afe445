"""Draws from p(hidden pixels | observed levels) of a hierarchy, whose density has no gradient in x.

Preconditioned Crank-Nicolson (Cotter et al. 2013, section 4.1) on the latents of the hidden pixels. With observed
pixels forced, latents decode to hidden pixels whose conditionals know only of what comes before them; under that law
latents are standard normal. The posterior is that law times the probability of the observed levels given what comes
before *them*: the likelihood of the Metropolis test.
"""

import torch
from torch import Tensor

from nf_mnist.errors import ConfigError
from nf_mnist.flows import Flow
from nf_mnist.flows.conditional import forced
from nf_mnist.inpainting.convergence import split_r_hat
from nf_mnist.inpainting.logits import Completions, check_task, log_prob_of_logits, to_logits

TARGET_ACCEPTANCE = 0.25


@torch.no_grad()
def crank_nicolson(
    flow: Flow,
    x: Tensor,
    observed: Tensor,
    *,
    n_samples: int,
    generator: torch.Generator,
    n_chains: int,
    n_warmup: int,
    thinning: int,
    step: float,
) -> Completions:
    """Return draws of several chains per image, all chains of the first draw first.

    Args:
        flow: An unconditional hierarchy.
        x: Images in [0, 1], shape (batch, 1, height, width); hidden pixels are not looked at.
        observed: Which pixels are given, shape (1, height, width).
        n_samples: Draws of all chains together; a multiple of ``n_chains``.
        generator: Of latents, proposals and tests, on the CPU.
        n_chains: Chains per image.
        n_warmup: Transitions in which the step of each chain is adapted, not counted.
        thinning: Transitions between draws.
        step: Share of fresh noise in a proposal to begin with, in (0, 1].

    Returns:
        Completions, whose report has ``acceptance``, the largest ``r_hat`` of a hidden pixel, ``step`` and ``stopped``.

    Raises:
        ConfigError: If the numbers do not fit together, or the flow is no unconditional hierarchy.
    """
    check_task(flow, x, observed, n_samples, needs_gradient=False)
    if n_samples % n_chains or min(n_chains, thinning) < 1 or not 0 < step <= 1:
        raise ConfigError(
            f"n_samples must be a multiple of n_chains, counts positive and step in (0, 1], got {n_samples=}, "
            f"{n_chains=}, {thinning=} and {step=}"
        )
    walk = Walk(flow, x.repeat(n_chains, 1, 1, 1), observed, step, generator)
    for number in range(n_warmup):
        walk.transition(gain=(number + 1) ** -0.6)
    walk.n_accepted, walk.n_tested = 0.0, 0
    found = []
    for _ in range(n_samples // n_chains):
        for _ in range(thinning):
            walk.transition(gain=0.0)
        found.append(walk.x.unflatten(0, (n_chains, len(x))))
    report = {
        "acceptance": walk.n_accepted / walk.n_tested,
        "step": walk.step.mean().item(),
        "stopped": float((~walk.is_sound).sum()),
    }
    if len(found) >= 4:
        hidden = torch.stack(found, 1)[..., ~observed]
        report["r_hat"] = split_r_hat(hidden).nan_to_num(1.0).max().item()
    values = [log_prob_of_logits(flow, to_logits(part.flatten(0, 1)))[1].unflatten(0, part.shape[:2]) for part in found]
    return Completions(torch.cat(found), torch.cat(values), torch.stack(values), 0, report)


class Walk:
    """Independent chains, one for each element of a batch, run side by side.

    Args:
        flow: An unconditional hierarchy.
        x: Images, shape (batch, *event).
        observed: Which pixels are given.
        step: Share of fresh noise in a proposal to begin with.
        generator: Of latents, proposals and tests, on the CPU.
    """

    def __init__(self, flow: Flow, x: Tensor, observed: Tensor, step: float, generator: torch.Generator) -> None:
        levels = (256 * x).floor().clamp(0, 255)
        self.context = torch.cat([levels, observed.expand_as(levels).to(levels)], 1)
        self.flow, self.forced, self.given, self.observed = flow, forced(flow), x, observed
        self.generator = generator
        self.step = torch.full((len(x),), step, dtype=x.dtype, device=x.device)
        self.z = flow.base.sample(len(x), generator).to(x)
        self.x, self.log_likelihood = self._decode(self.z)
        self.is_sound = self.log_likelihood.isfinite()
        self.n_accepted, self.n_tested = 0.0, 0

    def transition(self, gain: float) -> None:
        """Propose latents nearby, and accept or stay; a gain above 0 adapts the steps."""
        noise = self.flow.base.sample(len(self.z), self.generator).to(self.z)
        step = self.step[:, None]
        z = (1 - step.square()).sqrt() * self.z + step * noise
        x, log_likelihood = self._decode(z)
        self.is_sound &= log_likelihood.isfinite()
        chance = self._chance(log_likelihood - self.log_likelihood)
        accepted = torch.rand(len(z), generator=self.generator).to(z) < chance
        accepted &= self.is_sound
        self.z = torch.where(accepted[:, None], z, self.z)
        self.x = torch.where(accepted[:, None, None, None], x, self.x)
        self.log_likelihood = torch.where(accepted, log_likelihood, self.log_likelihood)
        self.n_accepted += chance[self.is_sound].mean().item() if self.is_sound.any() else 0.0
        self.n_tested += 1
        self.step = (self.step * (gain * (chance - TARGET_ACCEPTANCE)).exp()).clamp(max=1.0)

    def _chance(self, change: Tensor) -> Tensor:
        """Return the probability to accept a proposal: proposals are reversible under the forced law."""
        return change.clamp(max=0).exp().nan_to_num(0.0)

    def _decode(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return images, and the log-probability of the observed levels given what comes before them, in nats."""
        x = torch.where(self.observed, self.given, self.forced.decode(z, self.context))
        return x, self.flow.log_prob(x) - self.forced.log_prob(x, self.context)
