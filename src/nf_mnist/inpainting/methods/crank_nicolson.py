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
from nf_mnist.flows.conditional_flow import observed_image, teacher_forced
from nf_mnist.inpainting.chains import Chains, check_counts, draw, full_precision
from nf_mnist.inpainting.logits import Completions, check_task


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
        Completions, with the report of :func:`~nf_mnist.inpainting.chains.draw`.

    Raises:
        ConfigError: If the numbers do not fit together, or the flow is no unconditional hierarchy.
    """
    check_task(flow, x, observed, n_samples, needs_gradient=False)
    counts = {"n_samples": n_samples, "n_chains": n_chains, "n_warmup": n_warmup, "thinning": thinning}
    check_counts(**counts)
    if not 0 < step <= 1:
        raise ConfigError(f"step must lie in (0, 1], got {step}")
    with full_precision(x):
        chains = CrankNicolsonChains(flow, x.repeat(n_chains, 1, 1, 1), observed, step, generator)
        return draw(chains, flow, observed, **counts)


class CrankNicolsonChains(Chains):
    """Chains whose proposals mix latents with fresh ones; reversible under the law with observed pixels forced.

    Args:
        flow: An unconditional hierarchy.
        given: Images in [0, 1], shape (batch, *event).
        observed: Which of their pixels are given.
        step: Share of fresh noise in a proposal to begin with.
        generator: Of latents, proposals and tests, on the CPU.
    """

    target_acceptance = 0.25
    largest_step = 1.0

    def __init__(self, flow: Flow, given: Tensor, observed: Tensor, step: float, generator: torch.Generator) -> None:
        self.flow, self.teacher_forced = flow, teacher_forced(flow)
        self.given, self.observed, self.context = given, observed, observed_image(given, observed)
        z = flow.base.sample(len(given), generator).to(given)
        super().__init__((z, *self._decode(z)), step, generator)

    def propose(self) -> tuple[tuple[Tensor, ...], Tensor]:
        z, _, log_likelihood = self.state
        noise = self.flow.base.sample(len(z), self.generator).to(z)
        step = self.step[:, None]
        z = (1 - step.square()).sqrt() * z + step * noise
        x, found = self._decode(z)
        return (z, x, found), found - log_likelihood

    def images(self) -> Tensor:
        return self.state[1]

    def _decode(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return images, and the log-probability of the observed levels given what comes before them, in nats."""
        x = torch.where(self.observed, self.given, self.teacher_forced.decode(z, self.context))
        return x, self.flow.log_prob(x) - self.teacher_forced.log_prob(x, self.context)
