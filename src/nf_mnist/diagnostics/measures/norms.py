"""Normalisation layers: how their running statistics fit a batch, and by how much they magnify."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from nf_mnist.bijectors import ActNorm
from nf_mnist.diagnostics.access.batch import Batch
from nf_mnist.diagnostics.access.layers import innermost_layers
from nf_mnist.diagnostics.measures.initial_values import is_constant
from nf_mnist.flows import Flow

STANDARD = 0.5  # mean of a channel in deviations, and logarithm of its deviation, that count as standardised


class NormStatistics(NamedTuple):
    """How the running statistics of a layer differ from those of the batch that reached it.

    Attributes:
        name: Name of the layer.
        shift: Root mean square over channels of (batch mean - running mean), in running standard deviations.
        ratio: Root mean square over channels of the logarithm of batch over running standard deviation.
    """

    name: str
    shift: float
    ratio: float


class Magnification(NamedTuple):
    """The largest factor by which a normalisation of the flow multiplies a dimension.

    Attributes:
        name: Name of the layer.
        factor: ``1 / sqrt(variance + eps)``, or the scale of an ActNorm.
        n_near_floor: Number of dimensions whose variance is below 10 eps.
    """

    name: str
    factor: float
    n_near_floor: int


def running_norms(flow: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield name and layer for every layer that keeps a running mean and variance, from whichever library."""
    for name, module in flow.named_modules():
        if all(isinstance(getattr(module, key, None), Tensor) for key in ("running_mean", "running_var")):
            yield name, module


@torch.no_grad()
def norm_statistics(flow: Flow, x: Tensor, context: Tensor | None = None) -> list[NormStatistics]:
    """Compare the running statistics of every layer with those of a batch.

    Layers that are not called, and those whose statistics have another layout, are left out.

    Args:
        flow: The flow, in evaluation mode.
        x: Images, shape (batch, *event).
        context: Context of the flow, or None.
    """
    statistics: list[NormStatistics] = []

    def record(name: str, norm: Any, values: Tensor) -> None:
        channels = values.double().transpose(0, 1).flatten(1)
        if len(channels) == norm.running_mean.numel():
            statistics.append(_compare(name, norm, channels))

    hooks = [
        norm.register_forward_pre_hook(lambda _, args, name=name, norm=norm: record(name, norm, args[0]))
        for name, norm in running_norms(flow)
    ]
    try:
        flow.encode(x, context)
    finally:
        for hook in hooks:
            hook.remove()
    return statistics


@torch.no_grad()
def magnification(flow: nn.Module) -> Magnification | None:
    """Find the normalisation layer of a flow that magnifies most; None if there is none.

    torch's own BatchNorm is left out: it stands inside networks, where a dead channel does no harm.
    """
    return max(_magnifications(flow), key=lambda layer: layer.factor, default=None)


@torch.no_grad()
def norms_of_other_images(flow: Flow, batch: Batch) -> list[str]:
    """Return the names of trainable normalisations that hold numbers and leave these images far from standardised.

    A normalisation that its first batch has set standardises other images nearly, too. If it does not, its numbers are
    those of a training, or of networks other than the ones before it.

    Args:
        flow: The flow, in evaluation mode.
        batch: Images.
    """
    try:
        layers = innermost_layers(flow, batch)
    except Exception:  # other checks report that the flow cannot be called
        return []
    found = []
    for reached in layers:
        vectors = [*reached.layer.parameters()]
        if vectors and all(_is_set(value) for value in vectors):
            z, _ = reached.map.forward_and_log_det(reached.x)
            found += [] if _are_standard(z, vectors[0].numel()) else [reached.title]
    return found


def _is_set(value: Tensor) -> bool:
    """Return whether a parameter is a vector of different numbers."""
    return value.numel() > 1 and max(value.shape) == value.numel() and not is_constant(value)


def _are_standard(z: Tensor, n_channels: int) -> bool:
    """Return whether the means and deviations of most channels of a batch are nearly 0 and 1."""
    values = z.double().transpose(0, 1) if z.dim() > 2 and z.shape[1] == n_channels else z.double().flatten(1).T
    channels = values.flatten(1)
    return bool(channels.mean(1).abs().median() < STANDARD and channels.std(1).log().abs().median() < STANDARD)


def _compare(name: str, norm: Any, channels: Tensor) -> NormStatistics:
    """Compare running statistics with the values of each channel, shape (n_channels, n).

    There is no all-reduce: other processes of a distributed training do not come here.
    """
    mean, variance = channels.mean(1), channels.var(1, correction=0)
    running_mean, running_var = norm.running_mean.double().flatten(), norm.running_var.double().flatten()
    shift = (mean - running_mean) / (running_var + _eps(norm)).sqrt()
    ratio = 0.5 * ((variance + _eps(norm)).log() - (running_var + _eps(norm)).log())
    return NormStatistics(name, *(values.square().mean().sqrt().item() for values in (shift, ratio)))


def _magnifications(flow: nn.Module) -> Iterator[Magnification]:
    for name, norm in running_norms(flow):
        if not isinstance(norm, nn.modules.batchnorm._BatchNorm):
            factor = (norm.running_var.double() + _eps(norm)).rsqrt()
            yield Magnification(name, factor.max().item(), int((norm.running_var < 10 * _eps(norm)).sum()))
    for name, norm in flow.named_modules():
        if isinstance(norm, ActNorm):
            factor = norm.log_scale.double().exp()
            yield Magnification(name, factor.max().item(), int((factor > (10 * norm.eps) ** -0.5).sum()))


def _eps(norm: Any) -> float:
    """Return the floor of the variance of a layer, which not every library calls eps."""
    return getattr(norm, "eps", 1e-5)
