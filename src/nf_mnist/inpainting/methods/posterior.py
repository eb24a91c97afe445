"""Draws from p(hidden pixels | observed levels) by Hamiltonian Monte Carlo (Neal 2011).

The state holds every pixel as a real number. For a hidden pixel it is the logit of its value in (0, 1). For an observed
pixel it is the logit of its position in the box of its level, because the level is observed and its dither is not. The
target is log p(x) plus the log-determinant of these logits. Each proposal passes a Metropolis test, so the chains leave
the target invariant whatever the step. The step of each chain is adapted first and then frozen; draws are taken only
after that.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from nf_mnist.bijectors.quantile_map import N_LEVELS, SMALLEST_FRACTION, level_and_fraction
from nf_mnist.errors import ConfigError
from nf_mnist.flows import Flow
from nf_mnist.inpainting.logits import Completions, check_task, log_prob_of_images
from nf_mnist.inpainting.methods.chains import Chains, check_chain_lengths, draw, full_precision
from nf_mnist.inpainting.methods.initialization import weighted_prior_sample


class Boxes:
    """The change of variables between images and the real numbers that the chains sample.

    Args:
        x: Images in [0, 1], shape (batch, 1, height, width).
        observed: Boolean mask of the observed pixels, shape (1, height, width).
    """

    def __init__(self, x: Tensor, observed: Tensor) -> None:
        level, _ = level_and_fraction(x)
        self.low = torch.where(observed, level / N_LEVELS, 0.0)
        self.width = torch.where(observed, 1 / N_LEVELS, 1.0).to(x)

    def to_images(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """Return images and log|det dx/dq|, shape (batch,)."""
        log_det = F.logsigmoid(q) + F.logsigmoid(-q) + self.width.log()
        # Stay below the upper edge, so that x does not round up into the next level.
        inside = torch.sigmoid(q).clamp(SMALLEST_FRACTION, 1 - SMALLEST_FRACTION)
        return self.low + self.width * inside, log_det.flatten(1).sum(1)

    def from_images(self, x: Tensor) -> Tensor:
        """Return the real numbers of images."""
        inside = ((x - self.low) / self.width).clamp(SMALLEST_FRACTION, 1 - SMALLEST_FRACTION)
        return torch.logit(inside)


def posterior(
    flow: Flow,
    x: Tensor,
    observed: Tensor,
    *,
    n_samples: int,
    generator: torch.Generator,
    n_chains: int,
    n_warmup: int,
    thinning: int,
    n_leapfrog: int,
    step: float,
) -> Completions:
    """Return draws of several chains for each image. The first draws of all chains come first.

    Args:
        flow: A flow whose density has a gradient.
        x: Images in [0, 1], shape (batch, 1, height, width). The values of hidden pixels are ignored.
        observed: Boolean mask of the observed pixels, shape (1, height, width).
        n_samples: Number of draws of each image, over all its chains; a multiple of ``n_chains``.
        generator: CPU generator for initial states, momenta and tests.
        n_chains: Number of chains for each image. Each begins at a prior sample that resembles the observed pixels.
        n_warmup: Number of transitions that adapt the step of each chain. They yield no draws.
        thinning: Number of transitions between draws.
        n_leapfrog: Number of leapfrog steps in a transition.
        step: Initial size of a leapfrog step.

    Returns:
        Completions, with the report of :func:`~nf_mnist.inpainting.methods.chains.draw`.

    Raises:
        ConfigError: If the numbers do not fit together, or the density has no gradient.
    """
    check_task(flow, x, observed, n_samples)
    lengths = {"n_samples": n_samples, "n_chains": n_chains, "n_warmup": n_warmup, "thinning": thinning}
    check_chain_lengths(**lengths)
    if n_leapfrog < 1 or step <= 0:
        raise ConfigError(f"n_leapfrog and step must be positive, got {n_leapfrog} and {step}")
    images = x.repeat(n_chains, 1, 1, 1)
    with full_precision(x):
        start = weighted_prior_sample(flow, x, observed, n_chains, generator)
        chains = HamiltonianChains(flow, images, observed, start, n_leapfrog, step, generator)
        return draw(chains, flow, observed, **lengths)


class HamiltonianChains(Chains):
    """Chains whose proposals follow Hamilton's equations from a fresh momentum.

    Args:
        flow: A flow whose density has a gradient.
        given: Images in [0, 1], shape (batch, *event).
        observed: Boolean mask of their observed pixels.
        start: Initial images of the chains, shape (batch, *event).
        n_leapfrog: Number of leapfrog steps in a transition.
        step: Initial size of a leapfrog step.
        generator: CPU generator for momenta and tests.
    """

    target_acceptance = 0.7

    def __init__(
        self,
        flow: Flow,
        given: Tensor,
        observed: Tensor,
        start: Tensor,
        n_leapfrog: int,
        step: float,
        generator: torch.Generator,
    ) -> None:
        self.flow, self.given, self.observed, self.n_leapfrog = flow, given, observed, n_leapfrog
        self.boxes = Boxes(given, observed)
        q = self.boxes.from_images(start)
        value, gradient = self._value_and_gradient(q)
        super().__init__((q, gradient, value), step, generator)
        self.n_gradients = 1

    def propose(self) -> tuple[tuple[Tensor, ...], Tensor]:
        q, gradient, at_start = self.state
        momentum = torch.randn(q.shape, generator=self.generator).to(q)
        # Jitter the step, so that no trajectory is periodic (Neal 2011, section 5.4.2.2).
        jitter = 0.8 + 0.4 * torch.rand(len(q), generator=self.generator).to(q)
        step = (self.step * jitter)[:, None, None, None]
        p, value = momentum, at_start
        for _ in range(self.n_leapfrog):
            p = p + 0.5 * step * gradient
            q = q + step * p
            value, gradient = self._value_and_gradient(q)
            p = p + 0.5 * step * gradient
        self.n_gradients += self.n_leapfrog
        kinetic_change = 0.5 * (p.square() - momentum.square()).flatten(1).sum(1)
        return (q, gradient, value), (value - at_start) - kinetic_change

    def images(self) -> Tensor:
        return torch.where(self.observed, self.given, self.boxes.to_images(self.state[0])[0])

    def _value_and_gradient(self, q: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            q = q.detach().requires_grad_()
            x, log_det = self.boxes.to_images(q)
            value = log_prob_of_images(self.flow, x)[1] + log_det
            (gradient,) = torch.autograd.grad(value.sum(), q)
        return value.detach(), gradient
