"""Mixtures of logistics at all edges between grey levels at once, for pixels whose whole distribution is needed."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from nf_mnist.bijectors.quantile_map import N_LEVELS

CHUNK = 64  # pixels at a time, so that their logistics stay in the cache
Three = tuple[Tensor, Tensor, Tensor]


def table_edges(like: Tensor) -> Tensor:
    """Return edges 1 .. 255 on [-1, 1], in the dtype and on the device of a tensor."""
    return torch.arange(1, N_LEVELS, dtype=like.dtype, device=like.device) / (N_LEVELS / 2) - 1


class LogisticTable(Function):
    """Map weights, means and inverse scales, shape (pixels, components), to probabilities below edges 1 .. 255.

    The result has shape (pixels, 255). Logistics are computed again in the backward pass: keeping them would take a
    hundred times the memory of the table, and more time than computing them.
    """

    @staticmethod
    def forward(weights: Tensor, means: Tensor, inverse_scales: Tensor) -> Tensor:
        edges = table_edges(weights)
        parts = zip(*(part.split(_chunk(weights)) for part in (weights, means, inverse_scales)), strict=True)
        return torch.cat([(w[:, None] @ _logistics(edges, m, s))[:, 0] for w, m, s in parts])

    @staticmethod
    def setup_context(ctx: Any, inputs: Three, output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Three:
        weights, means, inverse_scales = ctx.saved_tensors
        edges = table_edges(weights)
        parts = (part.split(_chunk(weights)) for part in (gradients[0], means, inverse_scales))
        sums = [_sums(edges, *part) for part in zip(*parts, strict=True)]
        of_weights, of_arguments, of_edges = (torch.cat(part) for part in zip(*sums, strict=True))
        of_scales = weights * (of_edges - means * of_arguments)
        return of_weights, -weights * inverse_scales * of_arguments, of_scales

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> Tensor:
        (weights, means, inverse_scales), (of_weights, of_means, of_scales) = ctx.saved_tensors, tangents
        edges = table_edges(weights)
        logistics = _logistics(edges, means, inverse_scales)
        slopes = logistics * (1 - logistics)
        of_arguments = (edges - means[..., None]) * of_scales[..., None] - (inverse_scales * of_means)[..., None]
        return (of_weights[..., None] * logistics + weights[..., None] * slopes * of_arguments).sum(-2)

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


def _logistics(edges: Tensor, means: Tensor, inverse_scales: Tensor) -> Tensor:
    """Return the logistics at the edges, shape (pixels, components, edges)."""
    scales = inverse_scales[..., None]
    return torch.addcmul(-(means * inverse_scales)[..., None], scales, edges).sigmoid_()


def _sums(edges: Tensor, gradient: Tensor, means: Tensor, inverse_scales: Tensor) -> Three:
    """Return sums over edges of the gradient, shape (pixels, edges), times logistics, their slopes, and those by edge."""
    logistics = _logistics(edges, means, inverse_scales)
    of_weights = (logistics @ gradient[..., None])[..., 0]
    slopes = torch.addcmul(logistics, logistics, logistics, value=-1)
    both = slopes @ torch.stack([gradient, gradient * edges], -1)
    return of_weights, both[..., 0], both[..., 1]
