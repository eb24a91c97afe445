"""Completions by a flow that was trained to complete images: one sampling pass each."""

import torch
from torch import Tensor

from nf_mnist.errors import ConfigError
from nf_mnist.flows import Flow
from nf_mnist.flows.conditional_flow import observed_image
from nf_mnist.inpainting.logits import Completions, check_task, log_prob_of_logits, to_logits


@torch.no_grad()
def amortized(flow: Flow, x: Tensor, observed: Tensor, *, n_samples: int, generator: torch.Generator) -> Completions:
    """Draw hidden pixels from the flow's own p(hidden | observed levels). The draws are independent.

    Args:
        flow: A flow that is conditioned on observed pixels.
        x: Images in [0, 1], shape (batch, 1, height, width). The values of hidden pixels are ignored.
        observed: Boolean mask of the observed pixels, shape (1, height, width).
        n_samples: Number of completions of each image.
        generator: CPU generator for the latents.

    Raises:
        ConfigError: If the flow is not conditioned on observed pixels.
    """
    check_task(flow, x, observed, n_samples, needs_gradient=False)
    if not flow.takes_observed_pixels:
        raise ConfigError(
            "method=amortized needs a flow that is conditioned on observed pixels; train model=conditional"
        )
    context = observed_image(x, observed).repeat(n_samples, 1, 1, 1)
    drawn = flow.decode(flow.base.sample(len(context), generator).to(x), context)
    completed = torch.where(observed, x.repeat(n_samples, 1, 1, 1), drawn)
    _, log_prob = log_prob_of_logits(flow, to_logits(completed))
    shape = (n_samples, len(x))
    no_trace = log_prob.new_empty(0, *shape)
    return Completions(completed.unflatten(0, shape), log_prob.unflatten(0, shape), no_trace, 0, {})
