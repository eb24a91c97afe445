"""Draws from p(hidden pixels | observed levels) by Hamiltonian Monte Carlo (Neal 2011).

The state is every pixel on the real line: a hidden one is the logit of its place in (0, 1), an observed one the logit
of its place in the box of its level, for observed are levels and not their dither. The target is log p(x) and the
log-determinant of these logits; each proposal passes a Metropolis test, so the target is left invariant whatever
the step. The step of each chain is adapted first, then frozen; only what follows is counted.
"""

import torch
from torch import Tensor

from nf_mnist.errors import ConfigError
from nf_mnist.flows import Flow
from nf_mnist.inpainting.convergence import split_r_hat
from nf_mnist.inpainting.logits import Completions, check_task, log_prob_of_images, log_prob_of_logits, to_logits
from nf_mnist.inpainting.masks import corrupt

N_LEVELS = 256
TARGET_ACCEPTANCE = 0.7


class Boxes:
    """The change of variables between images and the sampler's real numbers.

    Args:
        x: Images in [0, 1], shape (batch, 1, height, width).
        observed: Which pixels are given, shape (1, height, width).
    """

    def __init__(self, x: Tensor, observed: Tensor) -> None:
        level = (x * N_LEVELS).floor().clamp(0, N_LEVELS - 1)
        self.low = torch.where(observed, level / N_LEVELS, 0.0)
        self.width = torch.where(observed, 1 / N_LEVELS, 1.0).to(x)

    def to_images(self, q: Tensor) -> tuple[Tensor, Tensor]:
        """Return images and log|det dx/dq|, shape (batch,)."""
        log_det = torch.nn.functional.logsigmoid(q) + torch.nn.functional.logsigmoid(-q) + self.width.log()
        # The largest float below the upper edge: x must not round up into the next level.
        inside = torch.sigmoid(q).clamp(2.0**-16, 1 - 2.0**-16)
        return self.low + self.width * inside, log_det.flatten(1).sum(1)

    def from_images(self, x: Tensor) -> Tensor:
        """Return the real numbers of images."""
        inside = ((x - self.low) / self.width).clamp(2.0**-16, 1 - 2.0**-16)
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
        n_chains: Chains per image, from different noise.
        n_warmup: Transitions in which the step is adapted, not counted.
        thinning: Transitions between draws.
        n_leapfrog: Leapfrog steps of a transition.
        step: Their size to begin with.

    Returns:
        Completions, whose report has ``acceptance``, the largest ``r_hat`` of a hidden pixel, ``step`` (all mean over
        chains) and ``stopped``: chains that met a value that is not finite; they stay at their last sound state.

    Raises:
        ConfigError: If the numbers do not fit together, or the density has no gradient.
    """
    check_task(flow, x, observed, n_samples)
    if n_samples % n_chains or min(n_chains, thinning, n_leapfrog) < 1 or step <= 0:
        raise ConfigError(
            f"n_samples must be a multiple of n_chains, and counts and step positive, got {n_samples=}, {n_chains=}, "
            f"{thinning=}, {n_leapfrog=} and {step=}"
        )
    images = x.repeat(n_chains, 1, 1, 1)
    boxes = Boxes(images, observed)
    chain = Chain(flow, boxes, boxes.from_images(corrupt(images, observed, "cp3", generator)), step, generator)
    for _ in range(n_warmup):
        chain.transition(n_leapfrog, adapts=True)
    chain.freeze()
    found, values = [], []
    for _ in range(n_samples // n_chains):
        for _ in range(thinning):
            chain.transition(n_leapfrog, adapts=False)
        with torch.no_grad():
            image = torch.where(observed, images, boxes.to_images(chain.q)[0])
            found.append(image.unflatten(0, (n_chains, len(x))))
            values.append(log_prob_of_logits(flow, to_logits(image))[1].unflatten(0, (n_chains, len(x))))
    draws = torch.stack(found, 1)  # chains, draws, batch, *event
    report = {"acceptance": chain.acceptance, "step": chain.step.mean().item(), "stopped": float(chain.n_stopped)}
    if draws.shape[1] >= 4:
        hidden = draws[..., ~observed]
        report["r_hat"] = split_r_hat(hidden).nan_to_num(1.0).max().item()
    trace = torch.stack(values)
    n_transitions = n_warmup + thinning * len(found)
    return Completions(
        torch.cat(found), trace.flatten(0, 1), trace, n_chains * (n_transitions * n_leapfrog + 1), report
    )


class Chain:
    """Independent Hamiltonian chains, one for each element of a batch, run side by side.

    Args:
        flow: The density.
        boxes: The change of variables.
        q: Where the chains begin, shape (batch, *event).
        step: Size of the leapfrog steps to begin with.
        generator: Of momenta and tests, on the CPU.
    """

    def __init__(self, flow: Flow, boxes: Boxes, q: Tensor, step: float, generator: torch.Generator) -> None:
        self.flow, self.boxes, self.generator = flow, boxes, generator
        self.q = q
        self.step = torch.full((len(q),), step, dtype=q.dtype, device=q.device)
        self.value, self.gradient = self._value_and_gradient(q)
        self.is_sound = self.value.isfinite()
        self._n_accepted, self._n_tested, self._n_adapted = 0.0, 0, 0

    @property
    def acceptance(self) -> float:
        """Share of proposals that were accepted since :meth:`freeze`."""
        return self._n_accepted / max(self._n_tested, 1)

    @property
    def n_stopped(self) -> int:
        """Number of chains that met a value that is not finite."""
        return int((~self.is_sound).sum())

    def freeze(self) -> None:
        """End the adaptation; from here on proposals are counted."""
        self._n_accepted, self._n_tested = 0.0, 0

    def transition(self, n_leapfrog: int, adapts: bool) -> None:
        """Propose by leapfrog steps from a fresh momentum, and accept or stay."""
        momentum = torch.randn(self.q.shape, generator=self.generator).to(self.q)
        # A jitter of the step, so that no trajectory closes on itself (Neal 2011, section 5.4.2.2).
        jitter = 0.8 + 0.4 * torch.rand(len(self.q), generator=self.generator).to(self.q)
        step = (self.step * jitter)[:, None, None, None]
        q, p, value, gradient = self.q, momentum, self.value, self.gradient
        for _ in range(n_leapfrog):
            p = p + 0.5 * step * gradient
            q = q + step * p
            value, gradient = self._value_and_gradient(q)
            p = p + 0.5 * step * gradient
        energy_change = (value - self.value) - 0.5 * (p.square() - momentum.square()).flatten(1).sum(1)
        chance = self._chance(energy_change)
        self.is_sound &= ~value.isnan()
        accepted = torch.rand(len(q), generator=self.generator).to(q) < chance
        accepted &= self.is_sound
        moves = accepted[:, None, None, None]
        self.q, self.gradient = torch.where(moves, q, self.q), torch.where(moves, gradient, self.gradient)
        self.value = torch.where(accepted, value, self.value)
        self._n_accepted += chance[self.is_sound].mean().item() if self.is_sound.any() else 0.0
        self._n_tested += 1
        if adapts:  # Robbins-Monro on the logarithm of the step
            self._n_adapted += 1
            gain = 1.0 / self._n_adapted**0.6
            self.step = self.step * (gain * (chance - TARGET_ACCEPTANCE)).exp()

    def _chance(self, energy_change: Tensor) -> Tensor:
        """Return the probability to accept a proposal (Metropolis et al. 1953)."""
        return energy_change.clamp(max=0).exp().nan_to_num(0.0)

    def _value_and_gradient(self, q: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            q = q.detach().requires_grad_()
            x, log_det = self.boxes.to_images(q)
            value = log_prob_of_images(self.flow, x)[1] + log_det
            (gradient,) = torch.autograd.grad(value.sum(), q)
        return value.detach(), gradient
