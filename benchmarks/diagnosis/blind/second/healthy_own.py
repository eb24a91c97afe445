"""Healthy flows of parts of nf_mnist, some with bases or designs of their own."""

import math
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.diagnosis.blind.builders import DIMS, SHAPE, dense_flow, fit_with_labels, model, on_vectors
from benchmarks.diagnosis.blind.cases import Case, shown_with_labels
from benchmarks.diagnosis.blind.second.faulty_training import FactorisedMixture, log_logistic
from benchmarks.diagnosis.blind.second.faulty_vectors import Estimated
from benchmarks.diagnosis.blind.second.vector_layers import HutchinsonOde
from benchmarks.diagnosis.blind.training import train, train_briefly, train_longer
from nf_mnist.bijectors import (
    ActNorm,
    AdditiveCoupling,
    AffineCoupling,
    FactorOut,
    Flatten,
    InvertibleConv,
    Logit,
    Permutation,
    Scaling,
    Sequential,
    Squeeze,
    make_mask,
    random_order,
)
from nf_mnist.flows import Flow
from nf_mnist.nets import MLP, GlowConv


class Logistic(nn.Module):
    """Independent standard logistic distributions, NICE's base."""

    def log_prob(self, z: Tensor) -> Tensor:
        return log_logistic(z)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        return torch.rand(n, DIMS, generator=generator).clamp(1e-7, 1 - 1e-7).logit()


class StudentT(nn.Module):
    """Independent Student t distributions with 5 degrees of freedom."""

    freedom = 5

    def log_prob(self, z: Tensor) -> Tensor:
        half = (self.freedom + 1) / 2
        constant = math.lgamma(half) - math.lgamma(self.freedom / 2) - 0.5 * math.log(self.freedom * math.pi)
        return (constant - half * torch.log1p(z.square() / self.freedom)).sum(1)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        normal = torch.randn(n, DIMS, self.freedom + 1, generator=generator)
        return normal[..., 0] / normal[..., 1:].square().mean(2).sqrt()


def two_scales() -> Flow:
    """Build a flow of two scales with 1x1 convolutions."""
    squeeze = Squeeze(SHAPE)
    shape = squeeze.event_shape_out
    half = (shape[0] // 2, *shape[1:])
    n_half = math.prod(half)
    mask = make_mask("halves", (n_half,))
    rest = [Flatten(half), ActNorm((n_half,)), AffineCoupling(mask, MLP(n_half, 48, 1), MLP(n_half, 48, 1))]
    coupling = AffineCoupling(make_mask("channel", shape), GlowConv(shape[0], 16, 2 * shape[0]))
    layers = [Logit(), squeeze, ActNorm(shape), InvertibleConv(shape), coupling]
    return Flow(Sequential([*layers, FactorOut(shape, half[0], Sequential(rest))]), SHAPE)


def additive_with_scaling() -> Flow:
    """Build NICE with random orders between its couplings and a logistic base."""
    mask = make_mask("halves", (DIMS,))
    orders = [Permutation(random_order(DIMS, seed)) for seed in range(3)]
    pairs = [layer for order in orders for layer in (order, AdditiveCoupling(mask, MLP(DIMS, 64, 1)))]
    flow = Flow(Sequential([Logit(), Flatten(SHAPE), *pairs, Scaling((DIMS,))]), SHAPE)
    flow.base = Logistic()
    return flow


TINY = ("model.flow.transformer_features=16", "model.flow.transformer_blocks=1", "model.flow.patch_size=7")
HEALTHY_OWN: dict[str, Case] = {
    "dense": Case(dense_flow, train_longer),
    "own_student_t": Case(lambda: dense_flow(base=StudentT()), train_longer),
    "own_factorised_mixture": Case(lambda: dense_flow(base=FactorisedMixture()), train_briefly),
    "own_logistic_nice": Case(additive_with_scaling, train_longer),
    "own_two_scales": Case(two_scales, train_longer),
    "own_tarflow": Case(model("model=tarflow", *TINY, "model.flow.n_autoregressions=2"), train_briefly),
    "own_jet": Case(model("model=jet", *TINY, "model.flow.n_couplings=3"), partial(train, n_steps=100)),
    "own_iaf": Case(model("model=iaf", "model.flow.hidden_features=16", "model.flow.n_layers=1")),
    "own_labels_untrained": Case(partial(dense_flow, n_classes=10), None, shown_with_labels),
    "own_labels_trained": Case(
        partial(dense_flow, 4, n_classes=10), partial(fit_with_labels, n_steps=400), shown_with_labels
    ),
    "own_sound_probes": Case(lambda: on_vectors(Estimated(HutchinsonOde())), partial(train, n_steps=250)),
    "own_large_margin": Case(partial(dense_flow, alpha=0.05), train_briefly),
}
