"""Completions by a continuous flow: a sample whose observed pixels are put back on their way at each step."""

import itertools

import torch
from torch import Tensor

from nf_mnist.errors import ConfigError, check_range
from nf_mnist.flows import Flow, FlowMatching
from nf_mnist.inpainting.logits import Completions, check_task, log_prob_of_logits, to_logits


@torch.no_grad()
def replacement(
    flow: Flow,
    x: Tensor,
    observed: Tensor,
    *,
    n_samples: int,
    generator: torch.Generator,
    n_steps: int,
    n_repeats: int,
) -> Completions:
    """Draw completions step by step, from noise at time 1 to images at time 0. The draws are independent.

    Before each step, observed pixels are put where training had them at that time, on the straight path from the image
    to their noise. Hidden pixels learn of them through the velocities alone, so the draws are only approximately from
    p(hidden | observed). A step can be repeated, with fresh noise, so that hidden pixels fit the observed ones better
    (Lugmayr et al. 2022, "RePaint", section 4.2).

    Args:
        flow: A continuous flow that was trained by flow matching.
        x: Images in [0, 1], shape (batch, 1, height, width). The values of hidden pixels are ignored.
        observed: Boolean mask of the observed pixels, shape (1, height, width).
        n_samples: Number of completions of each image.
        generator: CPU generator for all noise.
        n_steps: Number of steps, of two evaluations of the velocities each (the midpoint method).
        n_repeats: How often each step but the last is taken.

    Raises:
        ConfigError: If a number is below 1, or the flow was not trained by flow matching.
    """
    check_task(flow, x, observed, n_samples, needs_gradient=False)
    if not isinstance(flow, FlowMatching):
        raise ConfigError("method=replacement needs straight paths from data to noise; train model=flow_matching")
    check_range(1, n_steps=n_steps, n_repeats=n_repeats)
    given = x.repeat(n_samples, 1, 1, 1)
    target, _ = flow.preprocess(given)
    state = _noise(flow, target, generator)
    times = torch.linspace(1, 0, n_steps + 1).tolist()
    for begin, end in itertools.pairwise(times):
        for repeat in range(n_repeats if end else 1):
            if repeat:
                state = renoised(state, end, begin, _noise(flow, target, generator))
            on_path = torch.lerp(target, _noise(flow, target, generator), begin)
            state = _midpoint_step(flow, torch.where(observed, on_path, state), begin, end)
    drawn = flow.preprocess.inverse_and_log_det(state)[0].clamp(0, 1)
    completed = torch.where(observed, given, drawn)
    _, log_prob = log_prob_of_logits(flow, to_logits(completed))
    shape = (n_samples, len(x))
    return Completions(
        completed.unflatten(0, shape), log_prob.unflatten(0, shape), log_prob.new_empty(0, *shape), 0, {}
    )


def renoised(state: Tensor, begin: float, end: float, noise: Tensor) -> Tensor:
    """Move a state from time ``begin`` to a later time ``end``, as a straight path to fresh noise would.

    If the state is ``(1 - s) x + s e`` with standard normal e, the result is distributed as ``(1 - t) x + t e`` is.

    Args:
        state: Shape (batch, *event).
        begin: s, below 1.
        end: t, not below s.
        noise: Standard normal, shape of the state.
    """
    factor = (1 - end) / (1 - begin)
    return factor * state + (end**2 - (factor * begin) ** 2) ** 0.5 * noise


def _noise(flow: Flow, like: Tensor, generator: torch.Generator) -> Tensor:
    return flow.base.sample(len(like), generator).to(like).reshape(like.shape)


def _midpoint_step(flow: FlowMatching, state: Tensor, begin: float, end: float) -> Tensor:
    half = state + 0.5 * (end - begin) * _velocity(flow, state, begin)
    return state + (end - begin) * _velocity(flow, half, 0.5 * (begin + end))


def _velocity(flow: FlowMatching, state: Tensor, time: float) -> Tensor:
    return flow.map.velocity(state, state.new_full((len(state),), time), None).to(state.dtype)
