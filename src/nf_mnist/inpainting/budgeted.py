"""Completions within a budget, by whatever method a flow allows."""

import torch
from torch import Tensor

from nf_mnist.flows import ConditionalFlow, Flow
from nf_mnist.inpainting.amortized import amortized
from nf_mnist.inpainting.crank_nicolson import crank_nicolson
from nf_mnist.inpainting.logits import Completions
from nf_mnist.inpainting.modes import mode


def has_budgeted_method(flow: Flow) -> bool:
    """Return whether there is a method for a flow: not for one with class labels, nor after ``gaussianize``."""
    return not flow.n_classes and (flow.bijector.is_autoregressive or flow.bijector.is_continuous)


def budgeted_completions(
    flow: Flow, x: Tensor, observed: Tensor, n_samples: int, n_steps: int, generator: torch.Generator
) -> Completions:
    """Complete images with at most ``n_steps`` gradients, or transitions of a chain, per completion.

    A flow conditioned on observed pixels draws; one with a gradient climbs to modes; a hierarchy without either walks
    by Crank-Nicolson, too briefly to forget where it began.

    Args:
        flow: One that :func:`has_budgeted_method`.
        x: Images in [0, 1], shape (batch, 1, height, width).
        observed: Which pixels are given, shape (1, height, width).
        n_samples: Completions of each image.
        n_steps: The budget.
        generator: Of noise and latents, on the CPU.
    """
    if isinstance(flow, ConditionalFlow):
        return amortized(flow, x, observed, n_samples=n_samples, generator=generator)
    if flow.bijector.is_continuous:
        return mode(
            flow, x, observed, n_samples=n_samples, generator=generator, n_steps=n_steps, step=0.3, latent_weight=0.1
        )
    chains = {"n_samples": n_samples, "n_chains": n_samples, "n_warmup": n_steps // 2}
    return crank_nicolson(flow, x, observed, generator=generator, thinning=n_steps - n_steps // 2, step=0.3, **chains)
