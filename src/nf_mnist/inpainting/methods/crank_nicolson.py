"""Draws from p(hidden pixels | observed levels) of a hierarchy, whose density has no gradient in x.

The method is preconditioned Crank-Nicolson (Cotter et al. 2013, section 4.1) on the latents of the hidden pixels. With
observed pixels teacher-forced, latents decode to hidden pixels, each conditioned only on the pixels before it. Under
this proposal distribution latents are standard normal. The posterior is the proposal distribution times the
probability of the observed levels given the pixels before *them*, which is the likelihood in the Metropolis test.
"""

import torch
from torch import Tensor

from nf_mnist.errors import ConfigError
from nf_mnist.flows import Flow
from nf_mnist.flows.conditional_flow import observed_image, teacher_forced
from nf_mnist.inpainting.logits import Completions, check_task
from nf_mnist.inpainting.methods.chains import Chains, check_chain_lengths, draw, full_precision


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
    """Return draws of several chains for each image. The first draws of all chains come first.

    Args:
        flow: An unconditional hierarchy.
        x: Images in [0, 1], shape (batch, 1, height, width). The values of hidden pixels are ignored.
        observed: Boolean mask of the observed pixels, shape (1, height, width).
        n_samples: Number of draws of each image, over all its chains; a multiple of ``n_chains``.
        generator: CPU generator for latents, proposals and tests.
        n_chains: Number of chains for each image.
        n_warmup: Number of transitions that adapt the step of each chain. They yield no draws.
        thinning: Number of transitions between draws.
        step: Initial share of fresh noise in a proposal, in (0, 1].

    Returns:
        Completions, with the report of :func:`~nf_mnist.inpainting.methods.chains.draw`.

    Raises:
        ConfigError: If the numbers do not fit together, or the flow is not an unconditional hierarchy.
    """
    check_task(flow, x, observed, n_samples, needs_gradient=False)
    lengths = {"n_samples": n_samples, "n_chains": n_chains, "n_warmup": n_warmup, "thinning": thinning}
    check_chain_lengths(**lengths)
    if not 0 < step <= 1:
        raise ConfigError(f"step must lie in (0, 1], got {step}")
    with full_precision(x):
        chains = CrankNicolsonChains(flow, x.repeat(n_chains, 1, 1, 1), observed, step, generator)
        return draw(chains, flow, observed, **lengths)


class CrankNicolsonChains(Chains):
    """Chains whose proposals mix the latents with fresh noise.

    The proposal is reversible under the distribution with observed pixels teacher-forced.

    Args:
        flow: An unconditional hierarchy.
        given: Images in [0, 1], shape (batch, *event).
        observed: Boolean mask of their observed pixels.
        step: Initial share of fresh noise in a proposal.
        generator: CPU generator for latents, proposals and tests.
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
        x, proposed = self._decode(z)
        return (z, x, proposed), proposed - log_likelihood

    def images(self) -> Tensor:
        return self.state[1]

    def _decode(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return images, and the log-probability of the observed levels given the pixels before them, in nats."""
        x = torch.where(self.observed, self.given, self.teacher_forced.decode(z, self.context))
        return x, self.flow.log_prob(x) - self.teacher_forced.log_prob(x, self.context)
