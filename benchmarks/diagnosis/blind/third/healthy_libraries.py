"""Healthy flows of layers of normflows, nflows, zuko and FrEIA."""

from functools import partial
from typing import Any

import normflows
import torch
import zuko
from FrEIA.framework import GraphINN, InputNode, Node, OutputNode
from FrEIA.modules import (
    AllInOneBlock,
    GINCouplingBlock,
    GLOWCouplingBlock,
    HaarDownsampling,
    PermuteRandom,
    RNVPCouplingBlock,
    Split,
)
from nflows.transforms import (
    AffineCouplingTransform,
    BatchNorm,
    CompositeTransform,
    LULinear,
    MaskedPiecewiseRationalQuadraticAutoregressiveTransform,
    MultiscaleCompositeTransform,
    OneByOneConvolution,
    PiecewiseQuadraticCouplingTransform,
    SVDLinear,
)
from nflows.transforms.normalization import ActNorm as NflowsActNorm
from torch import nn

from benchmarks.diagnosis.blind.builders import DIMS, SHAPE
from benchmarks.diagnosis.blind.cases import Case, shown_with_labels
from benchmarks.diagnosis.blind.third.faulty_freia_zuko import (
    fit_labels,
    freia,
    freia_couplings,
    zuko_labels,
    zuko_nice,
)
from benchmarks.diagnosis.blind.third.faulty_libraries import (
    masked_affines,
    nflows_couplings,
    normflows_model,
)
from benchmarks.diagnosis.blind.third.layers import Net, on_vectors, train_quickly
from benchmarks.diagnosis.blind.training import train
from nf_mnist.adapters import FromFrEIA, FromNflows, FromNormflows, FromZuko
from nf_mnist.bijectors import ActNorm, Logit, Sequential, Squeeze
from nf_mnist.flows import Flow

SQUEEZED = (4, 14, 14)


def conv(n_in: int, n_out: int) -> nn.Module:
    """Build a small convolutional network."""
    return nn.Sequential(nn.Conv2d(n_in, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, n_out, 3, padding=1))


class Conv(nn.Module):
    """The same for nflows, which gives a context."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.inner = conv(n_in, n_out)

    def forward(self, x: Any, context: Any = None) -> Any:
        """Map images to parameters."""
        return self.inner(x)


def normflows_spline() -> Flow:
    """Build spline couplings of normflows with learned linear maps."""
    layers = [
        layer
        for i in range(2)
        for layer in (
            normflows.flows.CoupledRationalQuadraticSpline(DIMS, 1, 24, num_bins=4, reverse_mask=bool(i)),
            normflows.flows.LULinearPermute(DIMS),
        )
    ]
    return on_vectors(*map(FromNormflows, layers))


def normflows_split() -> Flow:
    """Build couplings of normflows that split a vector and swap its halves."""
    layers = []
    for _ in range(3):
        net = normflows.nets.MLP([DIMS // 2, 48, DIMS], init_zeros=True)
        block = normflows.flows.AffineCouplingBlock(net, scale_map="sigmoid")
        layers += [block, normflows.flows.Permute(DIMS, "swap")]
    return on_vectors(*map(FromNormflows, layers))


def normflows_scales() -> Flow:
    """Build the multi-scale Glow of normflows, with two scales."""
    coarse, fine = (8, 7, 7), (2, 14, 14)
    bases = [normflows.distributions.DiagGaussian(shape, trainable=False) for shape in (coarse, fine)]
    steps = [
        [normflows.flows.GlowBlock(8, 16), normflows.flows.GlowBlock(8, 16), normflows.flows.Squeeze()],
        [normflows.flows.GlowBlock(4, 16), normflows.flows.Squeeze()],
    ]
    scales = normflows.MultiscaleFlow(bases, steps, [normflows.flows.Merge()], class_cond=False)
    return Flow(Sequential([Logit(), FromNormflows(scales, [coarse, fine])]), SHAPE)


def nflows_quadratic() -> Flow:
    """Build quadratic splines of nflows after a learned linear map."""
    couplings = [
        PiecewiseQuadraticCouplingTransform(
            torch.arange(DIMS) % 2 == parity, Net, num_bins=4, tails="linear", tail_bound=3.0
        )
        for parity in (0, 1)
    ]
    return on_vectors(FromNflows(CompositeTransform([LULinear(DIMS), *couplings])))


def nflows_svd() -> Flow:
    """Build couplings of nflows with linear maps by reflections and scales."""
    layers = [
        layer
        for i in range(2)
        for layer in (SVDLinear(DIMS, 4), AffineCouplingTransform(torch.arange(DIMS) % 2 == i, Net))
    ]
    return on_vectors(FromNflows(CompositeTransform(layers)))


def nflows_scales() -> Flow:
    """Build the multi-scale composition of nflows on a squeezed image."""
    scales, squeeze = MultiscaleCompositeTransform(2), Squeeze(SHAPE)
    for channels in (4, 2):
        halves = torch.arange(channels) < channels // 2
        parts = [NflowsActNorm(channels), OneByOneConvolution(channels), AffineCouplingTransform(halves, Conv)]
        scales.add_transform(CompositeTransform(parts), (channels, 14, 14))
    return Flow(Sequential([Logit(), squeeze, FromNflows(scales)]), SHAPE)


def nflows_spline_autoregression() -> Flow:
    """Build an autoregressive spline of nflows."""
    spline = MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
        DIMS, 32, num_bins=4, tails="linear", tail_bound=3.0, num_blocks=1
    )
    return on_vectors(FromNflows(spline))


def freia_scales() -> Flow:
    """Build a graph of FrEIA: wavelets, a coupling, and a split whose parts are two latents."""
    start = InputNode(*SHAPE)
    haar = Node(start, HaarDownsampling, {"rebalance": 0.5})
    coupling = Node(haar, GLOWCouplingBlock, {"subnet_constructor": conv})
    split = Node(coupling, Split, {})
    deep = Node(split.out0, GLOWCouplingBlock, {"subnet_constructor": conv})
    graph = GraphINN([start, haar, coupling, split, deep, OutputNode(split.out1), OutputNode(deep)])
    return Flow(Sequential([Logit(), ActNorm(SHAPE), FromFrEIA(graph)]), SHAPE)


def freia_various() -> Flow:
    """Build blocks of FrEIA of several kinds."""
    nets = {"subnet_constructor": Net}
    soft = (AllInOneBlock, {**nets, "learned_householder_permutation": 2, "reverse_permutation": True})
    return freia((RNVPCouplingBlock, nets), (PermuteRandom, {"seed": 1}), soft, (GLOWCouplingBlock, nets))


def zuko_polynomials() -> Flow:
    """Build couplings of zuko whose maps are Bernstein polynomials, inverted numerically."""
    return on_vectors(FromZuko(zuko.flows.BPF(DIMS, degree=6, transforms=2, passes=2, hidden_features=[24])))


HEALTHY_LIBRARIES: dict[str, Case] = {
    "normflows_plain": Case(normflows_model, train_quickly),
    "normflows_masks": Case(lambda: on_vectors(*map(FromNormflows, masked_affines(2)))),
    "normflows_spline": Case(normflows_spline, partial(train, n_steps=100)),
    "normflows_split": Case(normflows_split, train_quickly),
    "normflows_scales": Case(normflows_scales, partial(train, n_steps=60)),
    "nflows_four": Case(nflows_couplings, train_quickly),
    "nflows_running": Case(partial(nflows_couplings, norm=BatchNorm), train_quickly),
    "nflows_quadratic": Case(nflows_quadratic, train_quickly),
    "nflows_svd": Case(nflows_svd, train_quickly),
    "nflows_scales": Case(nflows_scales, partial(train, n_steps=60)),
    "nflows_autoregression": Case(nflows_spline_autoregression),
    "freia_two": Case(freia_couplings, train_quickly),
    "freia_steady": Case(partial(freia_couplings, GINCouplingBlock), train_quickly),
    "freia_various": Case(freia_various, train_quickly),
    "freia_scales": Case(freia_scales, partial(train, n_steps=60)),
    "zuko_labels": Case(zuko_labels, fit_labels, shown_with_labels),
    "zuko_three": Case(lambda: on_vectors(zuko_nice()), train_quickly),
    "zuko_polynomials": Case(zuko_polynomials, partial(train, n_steps=40)),
}
