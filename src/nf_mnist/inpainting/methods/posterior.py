"""Draws from p(hidden pixels | observed levels) by Hamiltonian Monte Carlo (Neal 2011).

The state is every pixel on the real line: a hidden one is the logit of its place in (0, 1), an observed one the logit
of its place in the box of its level, for observed are levels and not their dither. The target is log p(x) and the
log-determinant of these logits; each proposal passes a Metropolis test, so the target is left invariant whatever
the step. The step of each chain is adapted first, then frozen; only what follows is counted.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from nf_mnist.bijectors.quantile_map import N_LEVELS, SMALLEST_FRACTION, level_and_fraction
from nf_mnist.errors import ConfigError
from nf_mnist.flows import Flow
from nf_mnist.inpainting.chains import Chains, check_counts, draw, full_precision
from nf_mnist.inpainting.initialization import weighted_prior_sample
from nf_mnist.inpainting.logits import Completions, check_task, log_prob_of_images


class Boxes:
    """The change of variables between images and the sampler's real numbers.

    Args:
        x: Images in [0, 1], shape (batch, 1, height, width).
        observed: Which pixels are given, shape (1, height, width).
    """

    def __init__(self, x: Tensor, observed: Tensor) -> None:
        level, _ = level_and_fraction(x)
        self.low = torch.where(observed, level / N_LEVELS, 0.0)
        self.width = torch.where(observed, 1 / N_LEVELS, 1.0).to(x)

    def to_images(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """Return images and log|det dx/dq|, shape (batch,)."""
        log_det = F.logsigmoid(q) + F.logsigmoid(-q) + self.width.log()
        # The largest float below the upper edge: x must not round up into the next level.
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
    """Return draws of several chains per image, all chains of the first draw first.

    Args:
        flow: A density with a gradient.
        x: Images in [0, 1], shape (batch, 1, height, width); hidden pixels are not looked at.
        observed: Which pixels are given, shape (1, height, width).
        n_samples: Draws of all chains together; a multiple of ``n_chains``.
        generator: Of starts, momenta and tests, on the CPU.
        n_chains: Chains per image, each from a prior sample that agrees with what is observed.
        n_warmup: Transitions in which the step of each chain is adapted, not counted.
        thinning: Transitions between draws.
        n_leapfrog: Leapfrog steps of a transition.
        step: Their size to begin with.

    Returns:
        Completions, with the report of :func:`~nf_mnist.inpainting.chains.draw`.

    Raises:
        ConfigError: If the numbers do not fit together, or the density has no gradient.
    """
    check_task(flow, x, observed, n_samples)
    counts = {"n_samples": n_samples, "n_chains": n_chains, "n_warmup": n_warmup, "thinning": thinning}
    check_counts(**counts)
    if n_leapfrog < 1 or step <= 0:
        raise ConfigError(f"n_leapfrog and step must be positive, got {n_leapfrog} and {step}")
    images = x.repeat(n_chains, 1, 1, 1)
    with full_precision(x):
        start = weighted_prior_sample(flow, x, observed, n_chains, generator)
        chains = HamiltonianChains(flow, images, observed, start, n_leapfrog, step, generator)
        return draw(chains, flow, observed, **counts)


class HamiltonianChains(Chains):
    """Chains whose proposals follow Hamilton's equations from a fresh momentum.

    Args:
        flow: The density.
        given: Images in [0, 1], shape (batch, *event).
        observed: Which of their pixels are given.
        start: Where the chains begin.
        n_leapfrog: Leapfrog steps of a transition.
        step: Their size to begin with.
        generator: Of momenta and tests, on the CPU.
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
        # A jitter of the step, so that no trajectory closes on itself (Neal 2011, section 5.4.2.2).
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
