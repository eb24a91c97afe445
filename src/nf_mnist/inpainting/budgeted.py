"""Completions within a fixed budget, by the method that suits a flow."""

import torch
from torch import Tensor

from nf_mnist.flows import Flow
from nf_mnist.inpainting.logits import Completions
from nf_mnist.inpainting.methods.amortized import amortized
from nf_mnist.inpainting.methods.crank_nicolson import crank_nicolson
from nf_mnist.inpainting.methods.modes import mode


def has_budgeted_method(flow: Flow) -> bool:
    """Return whether :func:`budgeted_completions` can complete images with a flow.

    It cannot if the flow takes class labels, or if ``gaussianize`` makes its density jump from level to level.
    """
    return not flow.n_classes and (flow.bijector.is_autoregressive or flow.bijector.is_continuous)


def budgeted_completions(
    flow: Flow, x: Tensor, observed: Tensor, n_samples: int, n_steps: int, generator: torch.Generator
) -> Completions:
    """Complete images with at most ``n_steps`` gradients, or transitions of a chain, for each completion.

    A flow conditioned on observed pixels draws samples. Any other flow whose density has a gradient ascends to modes.
    The remaining hierarchies run Crank-Nicolson chains, which are too short to forget their initial states.

    Args:
        flow: A flow for which :func:`has_budgeted_method` is true.
        x: Images in [0, 1], shape (batch, 1, height, width).
        observed: Boolean mask of the observed pixels, shape (1, height, width).
        n_samples: Number of completions of each image.
        n_steps: The budget.
        generator: CPU generator for noise and latents.
    """
    if flow.takes_observed_pixels:
        return amortized(flow, x, observed, n_samples=n_samples, generator=generator)
    if flow.bijector.is_continuous:
        return mode(
            flow, x, observed, n_samples=n_samples, generator=generator, n_steps=n_steps, step=0.3, latent_weight=0.1
        )
    chains = {"n_samples": n_samples, "n_chains": n_samples, "n_warmup": n_steps // 2}
    return crank_nicolson(flow, x, observed, generator=generator, thinning=n_steps - n_steps // 2, step=0.3, **chains)
