"""Flows of other libraries on MNIST, built and trained as their own documentation does it.

- normflows: Glow of its notebook ``glow_colab.ipynb`` for CIFAR-10: 16 blocks at each scale, 256 hidden channels,
  levels scaled to the unit interval, Adamax at 1e-3 with weight decay 1e-5, batches of 128. Two scales instead of
  three, since 28 pixels can be halved twice, and no classes.
- nflows: the masked autoregressive flow of its notebook ``moons.ipynb``: 5 layers, each behind a reversal of the
  dimensions, Adam at its defaults, batches of 128. 512 hidden features, since the notebook's 4 are for two dimensions.
- zuko: the neural spline flow of its quickstart: 3 transforms, 3 hidden layers of 128 features, Adam at 1e-3, batches
  of 256.

The documentation of the latter two has no images. They get logits, standardized for each pixel as zuko asks for.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from nf_mnist.bijectors import Logit

DIMS = 784
NegativeLogLikelihood = Callable[[Tensor], Tensor]  # of images in (0, 1), shape (n, 1, 28, 28); in nats, shape (n,)


class Peer(NamedTuple):
    """A flow of another library.

    Attributes:
        flow: The flow.
        nll: Its negative log-likelihood of images.
        optimizer: The optimizer of its parameters.
        batch_size: Number of images in a step.
    """

    flow: nn.Module
    nll: NegativeLogLikelihood
    optimizer: torch.optim.Optimizer
    batch_size: int


class StandardizedLogits:
    """Logits of images as flat vectors, less their mean, divided by their standard deviation, for each pixel.

    Args:
        x: Images to fit mean and deviation to, in (0, 1), shape (n, 1, 28, 28).
    """

    def __init__(self, x: Tensor) -> None:
        self.logit = Logit()
        y = self.logit.forward_and_log_det(x)[0].flatten(1)
        self.mean, self.std = y.mean(0), y.std(0)

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the vectors, shape (n, 784), and the log-determinants, shape (n,)."""
        y, log_det = self.logit.forward_and_log_det(x)
        return (y.flatten(1) - self.mean) / self.std, log_det - self.std.log().sum()


def normflows_glow(x: Tensor) -> Peer:
    """Return normflows' Glow."""
    import normflows as nf

    n_scales, flows, merges, bases = 2, [], [], []
    for i in range(n_scales):
        channels = 2 ** (n_scales + 1 - i)
        blocks = [nf.flows.GlowBlock(channels, 256, split_mode="channel", scale=True) for _ in range(16)]
        flows.append([*blocks, nf.flows.Squeeze()])
        merges += [nf.flows.Merge()] if i else []
        side = 28 // 2 ** (n_scales - i)
        bases.append(nf.distributions.DiagGaussian((channels // 2 if i else channels, side, side)))
    flow = nf.MultiscaleFlow(bases, flows, merges, class_cond=False)
    return Peer(flow, flow, torch.optim.Adamax(flow.parameters(), lr=1e-3, weight_decay=1e-5), 128)


def nflows_maf(x: Tensor) -> Peer:
    """Return nflows' masked autoregressive flow."""
    from nflows.distributions.normal import StandardNormal
    from nflows.flows.base import Flow
    from nflows.transforms.autoregressive import MaskedAffineAutoregressiveTransform
    from nflows.transforms.base import CompositeTransform
    from nflows.transforms.permutations import ReversePermutation

    layers: list[nn.Module] = []
    for _ in range(5):
        layers += [ReversePermutation(features=DIMS)]
        layers += [MaskedAffineAutoregressiveTransform(features=DIMS, hidden_features=512)]
    flow = Flow(CompositeTransform(layers), StandardNormal(shape=[DIMS]))
    return Peer(flow, _of_logits(x, flow.log_prob), torch.optim.Adam(flow.parameters()), 128)


def zuko_nsf(x: Tensor) -> Peer:
    """Return zuko's neural spline flow."""
    import zuko

    flow = zuko.flows.NSF(features=DIMS, transforms=3, hidden_features=[128] * 3)
    nll = _of_logits(x, lambda y: flow().log_prob(y))
    return Peer(flow, nll, torch.optim.Adam(flow.parameters(), lr=1e-3), 256)


def _of_logits(x: Tensor, log_prob: Callable[[Tensor], Tensor]) -> NegativeLogLikelihood:
    """Return the negative log-likelihood of images, from a log-density of standardized logits."""
    logits = StandardizedLogits(x)

    def nll(images: Tensor) -> Tensor:
        y, log_det = logits(images)
        return -log_prob(y) - log_det

    return nll


PEERS: dict[str, Callable[[Tensor], Peer]] = {
    "normflows_glow": normflows_glow,
    "nflows_maf": nflows_maf,
    "zuko_nsf": zuko_nsf,
}


def bits(nll: Tensor) -> Tensor:
    """Return bits per dimension of 8-bit images from nats of images in (0, 1)."""
    return nll / (DIMS * math.log(2)) + 8
