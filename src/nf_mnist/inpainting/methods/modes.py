"""Completions of high density by gradient ascent: the diary's attempts, CP3's method, and a cheaper way.

The diary is a student's unpublished record of a flow on MNIST (docs/riddles.md). CP3 is a simplified Real NVP known to
us only from its authors' report.

A mode is one completion and says nothing about the others; :mod:`~nf_mnist.inpainting.methods.posterior` draws from
all of them. The methods share these arguments: ``flow``, whose density has a gradient; images ``x`` in [0, 1], shape
(batch, 1, height, width), whose hidden pixels are ignored; ``observed``, a boolean mask of the observed pixels, shape
(1, height, width); ``n_samples``, the number of starting points for each image; and ``generator``, a CPU generator for
the starting points. An ascent that meets a value that is not finite ends at its last finite position, and is counted.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.optim import SGD, Adam, Optimizer

from nf_mnist.flows import Flow
from nf_mnist.inpainting.logits import (
    Completions,
    log_prob_of_images,
    log_prob_of_logits,
    to_images,
    to_logits,
)
from nf_mnist.inpainting.methods.initialization import noise, weighted_prior_mean

LARGEST_LOGIT = 11.0  # beyond it x hardly changes


def pixel_ascent(
    flow: Flow, x: Tensor, observed: Tensor, *, n_samples: int, generator: torch.Generator, n_steps: int, step: float
) -> Completions:
    """Ascend log p(x) in x itself, the diary's first attempt.

    The gradient in x is the gradient in logit space times 1 / (x (1 - x)): huge at black and white, where most pixels
    are. Steps small enough for those pixels move no others. Larger steps throw pixels to 0 or 1, where the clamp holds
    them.
    """
    start = noise(flow, x, observed, n_samples, generator)
    position, trace, n_stopped = _ascend(
        lambda x: log_prob_of_images(flow, x)[1], start, observed, partial(SGD, lr=step), n_steps, (0, 1)
    )
    return _completions(flow, x, observed, position, trace, n_stopped)


def logit_ascent(
    flow: Flow,
    x: Tensor,
    observed: Tensor,
    *,
    n_samples: int,
    generator: torch.Generator,
    n_steps: int,
    step: float,
    clip: float,
) -> Completions:
    """Ascend log p(y) by plain gradient steps, CP3's method. Gradient and logits are clipped to [-clip, clip]."""
    start = noise(flow, x, observed, n_samples, generator)
    optimizer = partial(SGD, lr=step)
    return _ascend_logits(flow, x, observed, start, optimizer, n_steps, bounds=(-clip, clip), clip=clip)


def logit_adam(
    flow: Flow, x: Tensor, observed: Tensor, *, n_samples: int, generator: torch.Generator, n_steps: int, step: float
) -> Completions:
    """Ascend log p(y) by Adam, the diary's remedy: the gradients of each pixel scale its own step."""
    start = noise(flow, x, observed, n_samples, generator)
    return _ascend_logits(flow, x, observed, start, partial(Adam, lr=step), n_steps)


def mode(
    flow: Flow,
    x: Tensor,
    observed: Tensor,
    *,
    n_samples: int,
    generator: torch.Generator,
    n_steps: int,
    step: float,
    latent_weight: float,
) -> Completions:
    """Ascend log p(y) by Adam from a weighted mean of prior samples.

    The learning rate decays by a cosine, and a weak penalty pulls z towards the origin. The prior samples need no
    gradient, and their mean is closer to the image than any point that a short ascent from noise reaches.
    """
    start = weighted_prior_mean(flow, x, observed, n_samples, generator)
    optimizer = partial(Adam, lr=step, betas=(0.8, 0.9))
    return _ascend_logits(flow, x, observed, start, optimizer, n_steps, latent_weight=latent_weight, decays=True)


def _ascend_logits(
    flow: Flow,
    x: Tensor,
    observed: Tensor,
    start: Tensor,
    optimizer_of: Callable[..., Optimizer],
    n_steps: int,
    *,
    bounds: tuple[float, float] = (-LARGEST_LOGIT, LARGEST_LOGIT),
    latent_weight: float = 0.0,
    clip: float = math.inf,
    decays: bool = False,
) -> Completions:
    """Ascend log p(y) - latent_weight * |z|^2 / 2, beginning at the images ``start``."""

    def objective(y: Tensor) -> Tensor:
        z, log_prob = log_prob_of_logits(flow, y)
        return log_prob - 0.5 * latent_weight * z.square().sum(1)

    position, trace, n_stopped = _ascend(
        objective, to_logits(start), observed, optimizer_of, n_steps, bounds, clip, decays
    )
    return _completions(flow, x, observed, to_images(position), trace, n_stopped)


def _ascend(
    objective: Callable[[Tensor], Tensor],
    start: Tensor,
    observed: Tensor,
    optimizer_of: Callable[..., Optimizer],
    n_steps: int,
    bounds: tuple[float, float],
    clip: float = math.inf,
    decays: bool = False,
) -> tuple[Tensor, Tensor, int]:
    """Maximize an objective over the hidden pixels.

    Returns:
        The final positions, shape of ``start``; the objective before each step, shape (n_steps, batch); and how many
        ascents stopped. One that stops ends at its last position with a finite value, or at its start.
    """
    position, last_finite = start.clone().requires_grad_(), start.clone()
    optimizer = optimizer_of([position], maximize=True)
    peak = optimizer.param_groups[0]["lr"]
    is_running = torch.ones(len(start), dtype=torch.bool, device=start.device)
    trace = []
    for number in range(n_steps):
        if decays:
            optimizer.param_groups[0]["lr"] = peak * 0.5 * (1 + math.cos(math.pi * number / n_steps))
        with torch.enable_grad():
            value = objective(position)
            (gradient,) = torch.autograd.grad(value.sum(), position)
        trace.append(value.detach())
        last_finite = _where(value.isfinite(), position.detach(), last_finite)
        is_running &= value.isfinite() & gradient.flatten(1).isfinite().all(1)
        moves = ~observed & is_running[:, None, None, None]
        position.grad = torch.where(moves, gradient, 0.0).clamp(-clip, clip)
        optimizer.step()
        with torch.no_grad():
            position.copy_(torch.where(moves, position.clamp(*bounds), last_finite))
    with torch.no_grad():
        is_finite = objective(position).isfinite()
    last_finite, is_running = _where(is_finite, position.detach(), last_finite), is_running & is_finite
    return last_finite, torch.stack(trace) if trace else start.new_empty(0, len(start)), int((~is_running).sum())


def _where(chosen: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Return the images of ``one`` where ``chosen``, shape (batch,), is true, and those of ``other`` elsewhere."""
    return torch.where(chosen[:, None, None, None], one, other)


@torch.no_grad()
def _completions(flow: Flow, x: Tensor, observed: Tensor, final: Tensor, trace: Tensor, n_stopped: int) -> Completions:
    """Score the final images of all ascents, and give them the shape of :class:`Completions`."""
    shape = (-1, len(x))
    completed = torch.where(observed, x.repeat(len(final) // len(x), 1, 1, 1), final)
    _, log_prob = log_prob_of_logits(flow, to_logits(completed))
    n_gradients = len(trace) * len(completed) // len(x)
    report = {"stopped": float(n_stopped)}
    return Completions(
        completed.unflatten(0, shape), log_prob.unflatten(0, shape), trace.unflatten(1, shape), n_gradients, report
    )
