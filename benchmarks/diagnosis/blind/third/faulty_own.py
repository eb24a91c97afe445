"""Faulty flows of parts of nf_mnist: a base distribution, a coupling, labels."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.diagnosis.blind.builders import DIMS, HIDDEN, SHAPE, dense_flow, model
from benchmarks.diagnosis.blind.cases import Case, shown_with_labels, training_and_validation
from benchmarks.diagnosis.blind.third.layers import train_quickly
from benchmarks.diagnosis.blind.training import log_normal, train, train_longer
from nf_mnist.bijectors import AffineCoupling, Flatten, Logit, Sequential, make_mask
from nf_mnist.data import UniformDequantizer, draw_noise
from nf_mnist.flows import Flow
from nf_mnist.flows.flow import StandardNormal
from nf_mnist.nets import MLP


class GaussianBase(nn.Module):
    """Independent normals with learned means and deviations."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.log_std = nn.Parameter(torch.zeros(DIMS)), nn.Parameter(torch.zeros(DIMS))

    def log_prob(self, z: Tensor) -> Tensor:
        """Return log p(z), shape (batch,)."""
        return log_normal((z - self.mean) * (-self.log_std).exp()) - self.log_std.sum()

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw latents, shape (n, 784)."""
        return self.mean + self.log_std.exp() * torch.randn(n, DIMS, generator=generator)


class UnusedGaussianBase(GaussianBase):
    """The same, but latents are drawn from standard normals; https://github.com/rosinality/glow-pytorch/issues/23."""

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw latents, shape (n, 784)."""
        return torch.randn(n, DIMS, generator=generator)


class SelfCentredBase(GaussianBase):
    """A normal whose mean is predicted from the latent itself.

    https://github.com/rosinality/glow-pytorch/issues/29: such a density does not integrate to one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Conv2d(1, 1, 3, padding=1)
        nn.init.zeros_(self.net.weight)
        assert self.net.bias is not None
        nn.init.zeros_(self.net.bias)

    def log_prob(self, z: Tensor) -> Tensor:
        return super().log_prob(z - self.net(z.reshape(-1, *SHAPE)).flatten(1))


class LastScaleBase(StandardNormal):
    """The standard normal of the last scale; those factored out before are not counted.

    https://github.com/chrischute/glow/issues/11 asks where the densities of the split variables are.
    """

    n_factored = DIMS // 2

    def log_prob(self, z: Tensor) -> Tensor:
        return log_normal(z[:, self.n_factored :])


class CooledBase(StandardNormal):
    """A standard normal whose samples keep a temperature of an earlier experiment.

    https://github.com/keonlee9420/VAENAR-TTS/issues/2: the density does not know of the temperature.
    """

    temperature = 0.7

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        return self.temperature * super().sample(n, generator)


class FactorCoupling(AffineCoupling):
    """A coupling with learned factors of the log-scales, as Real NVP's, which the log-determinant does not count."""

    def __init__(self, mask: Tensor, scale_net: nn.Module, shift_net: nn.Module, scale_activation: str) -> None:
        super().__init__(mask, scale_net, shift_net, scale_activation)
        self.factor = nn.Parameter(torch.ones(mask.shape))

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_scale, shift = self._parameters_given(x, context)
        return x * (self.factor * log_scale).exp() + shift, log_scale.sum(1)

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_scale, shift = self._parameters_given(z, context)
        return (z - shift) * (-self.factor * log_scale).exp(), -log_scale.sum(1)


def without_norms(base: nn.Module) -> Flow:
    """Build couplings without any normalisation, whose latents only the base fits."""
    kept = make_mask("even_odd", (DIMS,))
    layers = [
        AffineCoupling(mask, MLP(DIMS, HIDDEN, 1), MLP(DIMS, HIDDEN, 1), "soft_clamp")
        for mask in (kept, 1 - kept, kept, 1 - kept)
    ]
    flow = Flow(Sequential([Logit(1e-5), Flatten(SHAPE), *layers]), SHAPE)
    flow.add_module("base", base)
    return flow


def fit_after_moments(flow: Any) -> None:
    """Give the base the moments of a batch of latents, then train."""
    levels = training_and_validation()[0].levels[:256]
    x, _ = UniformDequantizer()(levels, draw_noise(levels))
    with torch.no_grad():
        std, mean = torch.std_mean(flow.encode(x), 0)
        flow.base.mean.copy_(mean)
        flow.base.log_std.copy_(std.log())
    train(flow, 200, 2e-3)


SMALL_GLOW = ("model=glow", "model.flow.n_scales=2", "model.flow.hidden_channels=16", "model.flow.n_steps=2")


def glow_with(base: nn.Module) -> nn.Module:
    """Build a small Glow of two scales with another base."""
    flow = model(*SMALL_GLOW)()
    flow.base = base
    return flow


def fit_all_but_labels(flow: nn.Module) -> None:
    """Train on images and labels, but not the weights that the labels go through.

    https://github.com/rll/deepul/issues/7: a layer that takes a condition need not use it.
    """
    images, _ = training_and_validation()
    trained = [parameter for name, parameter in flow.named_parameters() if "label" not in name]
    train(flow, 160, 2e-3, levels=images.levels, labels=images.labels, parameters=trained)


FAULTY_OWN: dict[str, Case] = {
    "base_drawn": Case(lambda: without_norms(UnusedGaussianBase()), fit_after_moments),
    "base_predicted": Case(lambda: dense_flow(base=SelfCentredBase()), train_quickly),
    "base_of_scales": Case(lambda: glow_with(LastScaleBase(DIMS)), partial(train, n_steps=100)),
    "base_standard": Case(lambda: dense_flow(base=CooledBase(DIMS)), weights="dense_even"),
    "dense_factors": Case(lambda: dense_flow(coupling=FactorCoupling), train_longer),
    "dense_classes": Case(partial(dense_flow, n_classes=10), fit_all_but_labels, shown_with_labels),
}
