"""Whether a log-density is a likelihood of images: are they dithered, is it bounded, does it hold for new images?"""

import contextlib
import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from nf_mnist.flows import Flow
from nf_mnist.metrics.likelihood import bits_per_dim


class Gap(NamedTuple):
    """How much worse validation images score than training images, in bits per dimension.

    Attributes:
        mean: Difference of the means.
        median: Difference of the medians. If it is far below that of the means, a few images are to blame.
        train_median: The median of training images, no difference.
    """

    mean: float
    median: float
    train_median: float


def most_frequent_share(x: Tensor) -> float:
    """Return the share of elements of x that repeat its most frequent value: almost 0 if x is dithered."""
    return (x.flatten().unique(return_counts=True)[1].max().item() - 1) / x.numel()


def fullest_sixteenth(x: Tensor) -> float:
    """Return the largest share of elements of x that lie in the same sixteenth of their grey level, of width 1/256."""
    sixteenths = ((256 * x).frac().abs() * 16).long().flatten()
    return sixteenths.bincount().max().item() / x.numel()


@torch.no_grad()
def undithered_gain(flow: Flow, levels: Tensor, x: Tensor, context: Tensor | None = None) -> float:
    """Return how much denser images are without dither than with it, in nats per dimension.

    A flow that was trained on undithered levels puts spikes on them, whose height has no bound. A density of dithered
    images has no such spikes. It may still be large at a pixel of exactly 0, where a logit is steep, so that latents
    have to be likelier, too: the smaller of both gains counts. Levels are tried as ``v / 255`` and as
    ``(v + 1/2) / 256``; the larger gain is returned.

    Args:
        flow: The flow, in evaluation mode.
        levels: Grey levels, shape (batch, *event), dtype uint8.
        x: The same images dithered, ``(levels + u) / 256``.
        context: Context of the flow, or None.
    """
    terms = _terms(flow, x, context)
    found = _accepted(lambda point: _terms(flow, point, context), levels.to(x))
    gains = [((one - terms).mean(1) / flow.dims).amin().item() for one in found]
    return max((gain for gain in gains if not math.isnan(gain)), default=float("nan"))


def _terms(flow: Flow, x: Tensor, context: Tensor | None) -> Tensor:
    """Return log p of images and the part of it that is the density of their latents, shape (2, batch)."""
    z, log_prob = flow(x, context)
    return torch.stack([log_prob, flow.base.log_prob(z)])


@torch.no_grad()
def undithered_log_prob(flow: Flow, levels: Tensor, context: Tensor | None = None) -> Tensor:
    """Return log p of images without dither in nats, shape (batch,): at ``v / 255`` or ``(v + 1/2) / 256``, the larger.

    Args:
        flow: The flow, in evaluation mode.
        levels: Grey levels, shape (batch, *event), dtype uint8.
        context: Context of the flow, or None.
    """
    values = levels.to(next(flow.parameters(), torch.empty(0)))
    found = _accepted(lambda point: flow.log_prob(point, context), values)
    return torch.stack([one.double().nan_to_num(-torch.inf) for one in found]).amax(0)


def _accepted(score: Callable[[Tensor], Tensor], levels: Tensor) -> list[Tensor]:
    """Return the scores of images without dither at ``v / 255``, unless the flow refuses 0 and 1, and between these."""
    with contextlib.suppress(Exception):  # a user's flow may refuse what its logit does not map
        return [score(levels / 255), score((levels + 0.5) / 256)]
    return [score((levels + 0.5) / 256)]


def generalisation_gap(train: Tensor, validation: Tensor, dims: int) -> Gap:
    """Compare the log-likelihoods of training images with those of validation images.

    Args:
        train: Log-likelihoods in nats, shape (n_train,).
        validation: Log-likelihoods in nats, shape (n_validation,).
        dims: Number of dimensions of an image.
    """
    train_bits, validation_bits = (bits_per_dim(values.double(), 0.0, dims) for values in (train, validation))
    mean = (validation_bits.mean() - train_bits.mean()).item()
    return Gap(mean, (validation_bits.median() - train_bits.median()).item(), train_bits.median().item())
