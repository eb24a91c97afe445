"""Completions of high density, found by climbing: the diary's attempts, and a cheaper way.

A mode is one completion and says nothing of the others; :mod:`~nf_mnist.inpainting.posterior` draws from all. All
methods take a density with a gradient, images ``x`` in [0, 1], shape (batch, 1, height, width), whose hidden pixels are
not looked at, which pixels are ``observed``, shape (1, height, width), the number of starts ``n_samples``, and a
``generator`` of the starts. A climb that meets a value that is not finite ends at the last place that has one, and is
counted.
"""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.optim import SGD, Adam, Optimizer

from nf_mnist.flows import Flow
from nf_mnist.inpainting.initialization import noise, weighted_prior_mean
from nf_mnist.inpainting.logits import (
    Completions,
    log_prob_of_images,
    log_prob_of_logits,
    to_images,
    to_logits,
)

LARGEST_LOGIT = 11.0  # beyond, x hardly moves


def pixel_ascent(
    flow: Flow, x: Tensor, observed: Tensor, *, n_samples: int, generator: torch.Generator, n_steps: int, step: float
) -> Completions:
    """Climb log p(x) in x itself, the diary's first attempt.

    Its gradient is that in logit space times 1 / (x (1 - x)): huge at black and white, where most pixels are. Steps
    small enough for those move nothing between, larger ones throw pixels to the ends, where the clamp holds them.
    """
    start = noise(flow, x, observed, n_samples, generator)
    place, trace, n_stopped = _climb(
        lambda place: log_prob_of_images(flow, place)[1], start, observed, partial(SGD, lr=step), n_steps, (0, 1)
    )
    return _completions(flow, x, observed, place, trace, n_stopped)


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
    """Climb log p(y) by plain steps, gradient and place clipped to [-clip, clip]: CP3's method."""
    start = noise(flow, x, observed, n_samples, generator)
    optimizer = partial(SGD, lr=step)
    return _climb_logits(flow, x, observed, start, optimizer, n_steps, bounds=(-clip, clip), clip=clip)


def logit_adam(
    flow: Flow, x: Tensor, observed: Tensor, *, n_samples: int, generator: torch.Generator, n_steps: int, step: float
) -> Completions:
    """Climb log p(y) by Adam, the diary's cure: each pixel's step is scaled by its own gradients."""
    start = noise(flow, x, observed, n_samples, generator)
    return _climb_logits(flow, x, observed, start, partial(Adam, lr=step), n_steps)


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
    """Climb by Adam with a falling rate from a mean of agreeing prior samples, with a weak pull of z to the origin.

    Sampling costs no gradient, and its guess is nearer than any place that a short climb from noise reaches.
    """
    start = weighted_prior_mean(flow, x, observed, n_samples, generator)
    optimizer = partial(Adam, lr=step, betas=(0.8, 0.9))
    return _climb_logits(flow, x, observed, start, optimizer, n_steps, latent_weight=latent_weight, is_falling=True)


def _climb_logits(
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
    is_falling: bool = False,
) -> Completions:
    """Climb log p(y), less ``latent_weight`` times half the squared norm of z, from images."""

    def objective(y: Tensor) -> Tensor:
        z, log_prob = log_prob_of_logits(flow, y)
        return log_prob - 0.5 * latent_weight * z.square().sum(1)

    place, trace, n_stopped = _climb(
        objective, to_logits(start), observed, optimizer_of, n_steps, bounds, clip, is_falling
    )
    return _completions(flow, x, observed, to_images(place), trace, n_stopped)


def _climb(
    objective: Callable[[Tensor], Tensor],
    start: Tensor,
    observed: Tensor,
    optimizer_of: Callable[..., Optimizer],
    n_steps: int,
    bounds: tuple[float, float],
    clip: float = math.inf,
    is_falling: bool = False,
) -> tuple[Tensor, Tensor, int]:
    """Return where the climb ends, its values before each step, shape (n_steps, batch), and how many were stopped.

    One that is stopped ends at the last place where its value is finite, at the start if there is none.
    """
    place, sound = start.clone().requires_grad_(), start.clone()
    optimizer = optimizer_of([place], maximize=True)
    peak = optimizer.param_groups[0]["lr"]
    is_sound = torch.ones(len(start), dtype=torch.bool, device=start.device)
    trace = []
    for number in range(n_steps):
        if is_falling:
            optimizer.param_groups[0]["lr"] = peak * 0.5 * (1 + math.cos(math.pi * number / n_steps))
        with torch.enable_grad():
            value = objective(place)
            (gradient,) = torch.autograd.grad(value.sum(), place)
        trace.append(value.detach())
        sound = _where(value.isfinite(), place.detach(), sound)
        is_sound &= value.isfinite() & gradient.flatten(1).isfinite().all(1)
        moves = ~observed & is_sound[:, None, None, None]
        place.grad = torch.where(moves, gradient, 0.0).clamp(-clip, clip)
        optimizer.step()
        with torch.no_grad():
            place.copy_(torch.where(moves, place.clamp(*bounds), sound))
    with torch.no_grad():
        is_finite = objective(place).isfinite()
    sound, is_sound = _where(is_finite, place.detach(), sound), is_sound & is_finite
    return sound, torch.stack(trace) if trace else start.new_empty(0, len(start)), int((~is_sound).sum())


def _where(chosen: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """Return the images of ``one`` that are chosen, shape (batch,), and those of ``other`` elsewhere."""
    return torch.where(chosen[:, None, None, None], one, other)


@torch.no_grad()
def _completions(flow: Flow, x: Tensor, observed: Tensor, found: Tensor, trace: Tensor, n_stopped: int) -> Completions:
    shape = (-1, len(x))
    found = torch.where(observed, x.repeat(len(found) // len(x), 1, 1, 1), found)
    _, log_prob = log_prob_of_logits(flow, to_logits(found))
    n_gradients = len(trace) * len(found) // len(x)
    report = {"stopped": float(n_stopped)}
    return Completions(
        found.unflatten(0, shape), log_prob.unflatten(0, shape), trace.unflatten(1, shape), n_gradients, report
    )
