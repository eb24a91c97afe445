"""What normalisation layers hold against what they meet: batch against running statistics, and magnification."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from nf_mnist.bijectors import ActNorm
from nf_mnist.flows import Flow


class NormStatistics(NamedTuple):
    """One layer with running statistics, and the batch that reached it.

    Attributes:
        name: Of the module.
        shift: Root mean square over channels of (batch mean - running mean), in running standard deviations.
        ratio: Root mean square over channels of the logarithm of batch over running standard deviation.
    """

    name: str
    shift: float
    ratio: float


class Magnification(NamedTuple):
    """The largest factor by which a normalisation of the flow multiplies a dimension.

    Attributes:
        name: Of the module.
        factor: ``1 / sqrt(variance + eps)``, or ActNorm's scale.
        n_near_floor: Number of its statistics whose variance is below 10 eps.
    """

    name: str
    factor: float
    n_near_floor: int


def running_norms(flow: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield every layer that keeps a running mean and variance: ours, torch's, and other libraries'."""
    for name, module in flow.named_modules():
        if all(isinstance(getattr(module, key, None), Tensor) for key in ("running_mean", "running_var")):
            yield name, module


@torch.no_grad()
def norm_statistics(flow: Flow, x: Tensor, context: Tensor | None = None) -> list[NormStatistics]:
    """Compare the running statistics of every layer with those of the batch x, shape (batch, *event).

    Layers that the batch does not reach through a call, and those of another layout, are left out.
    """
    found: list[NormStatistics] = []

    def compare(name: str, norm: Any, values: Tensor) -> None:
        channels = values.double().transpose(0, 1).flatten(1)  # of this process alone: others may not be here
        mean, variance = channels.mean(1), channels.var(1, correction=0)
        eps = getattr(norm, "eps", 1e-5)
        running_mean, running_var = norm.running_mean.double().flatten(), norm.running_var.double().flatten()
        if mean.shape == running_mean.shape:
            shift = (mean - running_mean) / (running_var + eps).sqrt()
            ratio = 0.5 * ((variance + eps).log() - (running_var + eps).log())
            found.append(NormStatistics(name, *(part.square().mean().sqrt().item() for part in (shift, ratio))))

    hooks = [
        norm.register_forward_pre_hook(lambda _, args, name=name, norm=norm: compare(name, norm, args[0]))
        for name, norm in running_norms(flow)
    ]
    try:
        flow.encode(x, context)
    finally:
        for hook in hooks:
            hook.remove()
    return found


@torch.no_grad()
def magnification(flow: nn.Module) -> Magnification | None:
    """Find the flow's normalisation layer that magnifies most; None if there is none.

    torch's own BatchNorm stands inside networks, where a channel that died does no harm, and is left out.
    """
    found = []
    for name, norm in running_norms(flow):
        if not isinstance(norm, nn.modules.batchnorm._BatchNorm):
            eps = getattr(norm, "eps", 1e-5)
            factor = (norm.running_var.double() + eps).rsqrt()
            found.append(Magnification(name, factor.max().item(), int((norm.running_var < 10 * eps).sum())))
    for name, norm in flow.named_modules():
        if isinstance(norm, ActNorm):
            factor = norm.log_scale.double().exp()
            n_near_floor = int((factor > (10 * norm.eps) ** -0.5).sum())
            found.append(Magnification(name, factor.max().item(), n_near_floor))
    return max(found, key=lambda one: one.factor, default=None)
