"""Mixtures of logistics at all levels above black at once, for pixels whose whole distribution is needed."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from nf_mnist.bijectors.quantile_map import N_LEVELS

HALF = N_LEVELS / 2  # a level is 1 / HALF wide on [-1, 1]
CHUNK = 64  # pixels at a time on a CPU, so that their logistics stay in the cache
Three = tuple[Tensor, Tensor, Tensor]


class LogisticTable(Function):
    """Map weights, means and inverse scales, shape (pixels, components), to probabilities of levels, (pixels, 255).

    The levels are 1 .. 255; the last takes the tail above it. Logistics are computed again in the backward pass:
    keeping them would take as many times the memory of the table as there are components, and more time.
    """

    @staticmethod
    def forward(weights: Tensor, means: Tensor, inverse_scales: Tensor) -> Tensor:
        chunks = (part.split(_chunk(weights)) for part in (weights, means, inverse_scales))
        return torch.cat([_probabilities(*chunk) for chunk in zip(*chunks, strict=True)])

    @staticmethod
    def setup_context(ctx: Any, inputs: Three, output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Three:
        weights, means, inverse_scales = ctx.saved_tensors
        chunks = (part.split(_chunk(weights)) for part in (gradients[0], means, inverse_scales))
        with torch.autocast(weights.device.type, enabled=False):
            sums = [_sums(*chunk) for chunk in zip(*chunks, strict=True)]
        of_weights, of_arguments, of_edges = (torch.cat(part) for part in zip(*sums, strict=True))
        return of_weights, -weights * inverse_scales * of_arguments, weights * (of_edges - means * of_arguments)

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> Tensor:
        (weights, means, inverse_scales), (of_weights, of_means, of_scales) = ctx.saved_tensors, tangents
        edges = _edges(weights)
        logistics = _arguments(edges, means, inverse_scales).sigmoid()
        of_arguments = (edges - means[..., None]) * of_scales[..., None] - (inverse_scales * of_means)[..., None]
        slopes = weights[..., None] * logistics * (1 - logistics)
        of_edges = (of_weights[..., None] * logistics + slopes * of_arguments).sum(-2)
        return torch.cat([of_edges, of_weights.sum(-1, keepdim=True)], -1).diff(dim=-1)

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Tensor) -> tuple[Tensor, int]:
        """Fold a further axis into that of pixels."""
        size = info.batch_size
        moved = [
            part.expand(size, *part.shape) if axis is None else part.movedim(axis, 0)
            for part, axis in zip(inputs, in_dims, strict=True)
        ]
        table = LogisticTable.apply(*(part.flatten(0, 1) for part in moved))
        return table.unflatten(0, (size, -1)), 0


def _chunk(like: Tensor) -> int:
    return CHUNK if like.device.type == "cpu" else max(len(like), 1)


def _edges(like: Tensor) -> Tensor:
    """Return edges 1 .. 255 on [-1, 1], in the dtype and on the device of a tensor."""
    return torch.arange(1, N_LEVELS, dtype=like.dtype, device=like.device) / HALF - 1


def _arguments(edges: Tensor, means: Tensor, inverse_scales: Tensor) -> Tensor:
    """Return what the logistics are taken of at the edges, shape (pixels, components, edges)."""
    return (edges - means[..., None]).mul_(inverse_scales[..., None])


def _logistics(means: Tensor, inverse_scales: Tensor) -> tuple[Tensor, Tensor]:
    """Return the probabilities below and above edges, shape (pixels, components, 255), precise where they are small."""
    arguments = _arguments(_edges(means), means, inverse_scales)
    above = arguments.neg().sigmoid_()
    return arguments.sigmoid_(), above


def _inner(below: Tensor, above: Tensor, inverse_scales: Tensor) -> tuple[Tensor, Tensor]:
    """Return what the probabilities of levels 1 .. 254 are products of.

    A logistic s has ``s(b) - s(a) = (1 - exp(a - b)) s(b) s(-a)``: precise however small the difference is.
    """
    return -torch.expm1(-inverse_scales / HALF), below[..., 1:] * above[..., :-1]


def _probabilities(weights: Tensor, means: Tensor, inverse_scales: Tensor) -> Tensor:
    """Return the mixture's probabilities of levels 1 .. 255, shape (pixels, 255)."""
    below, above = _logistics(means, inverse_scales)
    factor, products = _inner(below, above, inverse_scales)
    inner = products.mul_((weights * factor)[..., None]).sum(1)
    return torch.cat([inner, (weights * above[..., -1]).sum(1, keepdim=True)], 1)


def _sums(gradient: Tensor, means: Tensor, inverse_scales: Tensor) -> Three:
    """Return sums over levels of the gradient, shape (pixels, 255), times probabilities; and over edges, times slopes.

    Summed by parts: an edge takes from the level below it, if that is not black, and gives to the level above. The
    third sums are of those times the edges.
    """
    edges, gradient = _edges(means), gradient[:, None]
    below, above = _logistics(means, inverse_scales)
    factor, products = _inner(below, above, inverse_scales)
    of_levels = factor * products.mul_(gradient[..., :-1]).sum(-1) + above[..., -1] * gradient[..., -1]
    by_edge = -gradient.diff(dim=-1, prepend=torch.zeros_like(gradient[..., :1]))
    slopes = below.mul_(above).mul_(by_edge)
    return of_levels, slopes.sum(-1), slopes.mul_(edges).sum(-1)
