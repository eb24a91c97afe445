"""How a flow behaves around data and around its prior, which a good loss does not show."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from nf_mnist.flows import Flow

LIT = 0.1  # value above which a pixel counts as lit


class Likeness(NamedTuple):
    """How samples differ from data.

    Attributes:
        mean_error: Root mean square difference of the pixels' means, divided by the root mean square of the pixels'
            standard deviations in the data.
        lit_ratio: Share of lit pixels in the samples, divided by that in the data.
    """

    mean_error: float
    lit_ratio: float


class Drop(NamedTuple):
    """How far log p falls when noise is added to x.

    Attributes:
        scales: Standard deviations of the noise.
        nats_per_dim: Mean fall of log p in nats per dimension, for each of them.
    """

    scales: tuple[float, ...]
    nats_per_dim: tuple[float, ...]


@torch.no_grad()
def likeness(samples: Tensor, x: Tensor) -> Likeness:
    """Compare samples with data, both of shape (n, *event) in [0, 1]: the mean of each pixel, and how many are lit."""
    difference = (samples.mean(0) - x.mean(0)).square().mean().sqrt()
    deviation = x.var(0).mean().sqrt()
    lit = (samples > LIT).double().mean() / (x > LIT).double().mean().clamp(min=1e-9)
    return Likeness((difference / deviation).item(), lit.item())


@torch.no_grad()
def perturbation_error(flow: Flow, x: Tensor, scale: float, seed: int = 0, context: Tensor | None = None) -> float:
    """Return how far ``decode(encode(x) + scale * noise)`` is from x: the root mean square, in the units of x.

    If this error is small and samples still look like nothing, data do not lie where the prior looks.

    Args:
        flow: The flow, in evaluation mode.
        x: Images, shape (n, *event).
        scale: Standard deviation of the noise.
        seed: Seed of the noise.
        context: Context of the flow, or None.
    """
    z = flow.encode(x, context)
    noise = torch.randn(z.shape, generator=torch.Generator().manual_seed(seed)).to(z)
    return (flow.decode(z + scale * noise, context) - x).square().mean().sqrt().item()


@torch.no_grad()
def noise_drop(flow: Flow, x: Tensor, scales: Sequence[float], seed: int = 0, context: Tensor | None = None) -> Drop:
    """Measure how far log p(x + scale * noise) lies below log p(x); noisy images are clipped to stay in (0, 1).

    Args:
        flow: The flow, in evaluation mode.
        x: Images, shape (n, *event).
        scales: Standard deviations of the noise.
        seed: Seed of the noise.
        context: Context of the flow, or None.
    """
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed)).to(x)
    at_x = flow.log_prob(x, context)
    drops = []
    for scale in scales:
        noisy = (x + scale * noise).clamp(1e-4, 1 - 1e-4)
        drops.append(((at_x - flow.log_prob(noisy, context)).mean() / flow.dims).item())
    return Drop(tuple(scales), tuple(drops))
