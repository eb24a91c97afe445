"""How a flow behaves around data and around its prior: what a good loss does not tell."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nf_mnist.flows import Flow


class Likeness(NamedTuple):
    """Prior samples against data.

    Attributes:
        mean_error: Root mean square difference of the pixels' means, over the root mean square of their deviations.
        lit_ratio: Mean share of pixels above one tenth in samples, over that in data.
    """

    mean_error: float
    lit_ratio: float


class Drop(NamedTuple):
    """How far log p falls when noise is added to x, in nats per dimension, at each scale of the noise."""

    scales: tuple[float, ...]
    nats_per_dim: tuple[float, ...]


@torch.no_grad()
def likeness(samples: Tensor, x: Tensor) -> Likeness:
    """Compare samples with data, both of shape (n, *event) in [0, 1], pixel by pixel and in how much is lit."""
    difference = (samples.mean(0) - x.mean(0)).square().mean().sqrt()
    deviation = x.var(0).mean().sqrt()
    lit = (samples > 0.1).double().mean() / (x > 0.1).double().mean().clamp(min=1e-9)
    return Likeness((difference / deviation).item(), lit.item())


@torch.no_grad()
def perturbation_error(flow: Flow, x: Tensor, scale: float, seed: int = 0, context: Tensor | None = None) -> float:
    """Return how far ``decode(encode(x) + scale * noise)`` is from x, root mean square in the units of x.

    Beside what fresh latents decode to it tells whether data lie where the prior looks: a small error here with
    samples that are no images means that they do not.
    """
    z = flow.encode(x, context)
    noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(seed)).to(z)
    return (flow.decode(z + scale * noise, context) - x).square().mean().sqrt().item()


@torch.no_grad()
def noise_drop(flow: Flow, x: Tensor, scales: Sequence[float], seed: int = 0, context: Tensor | None = None) -> Drop:
    """Measure how log p(x + scale * noise) falls with the scale; x is clipped to stay in (0, 1)."""
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed)).to(x)
    at_x = flow.log_prob(x, context)
    drops = []
    for scale in scales:
        moved = (x + scale * noise).clamp(1e-4, 1 - 1e-4)
        drops.append(((at_x - flow.log_prob(moved, context)).mean() / flow.dims).item())
    return Drop(tuple(scales), tuple(drops))
