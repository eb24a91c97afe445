"""Healthy flows of layers of normflows, nflows, zuko and FrEIA."""

from functools import partial
from typing import Any

import normflows
import torch
from FrEIA.modules import GLOWCouplingBlock, HouseholderPerm, RNVPCouplingBlock
from nflows.transforms import CompositeTransform, PiecewiseRationalQuadraticCouplingTransform
from nflows.transforms import Logit as NflowsLogit
from torch import Tensor, nn

from benchmarks.diagnosis.blind.builders import DIMS, SHAPE
from benchmarks.diagnosis.blind.cases import Case, Shown, shown_plainly, shown_with_labels, training_and_validation
from benchmarks.diagnosis.blind.fourth.faulty_freia_zuko import (
    COUPLINGS,
    NETS,
    Blocks,
    fit_classes,
    freia,
    zuko_classes,
    zuko_rows,
)
from benchmarks.diagnosis.blind.fourth.faulty_libraries import (
    SavedCentred,
    fit_centred,
    nflows_turns,
    normflows_centred,
)
from benchmarks.diagnosis.blind.third.layers import Net, on_vectors, train_quickly
from benchmarks.diagnosis.blind.training import train
from nf_mnist.adapters import FromNflows, FromNormflows
from nf_mnist.bijectors import ActNorm, Flatten, Sequential
from nf_mnist.flows import Flow


def two_levels(levels: Tensor) -> Tensor:
    """Return images of levels 0 and 1 of 2: ink wherever there is any."""
    return (255 * (levels > 0)).to(torch.uint8)


def shown_two_levels() -> Shown:
    """Return such images, of validation and training alike."""
    shown = shown_plainly()
    return Shown(two_levels(shown.levels), two_levels(shown.train))


def fit_two_levels(flow: nn.Module) -> None:
    """Train on such images."""
    train_quickly(flow, levels=two_levels(training_and_validation()[0].levels))


def normflows_made() -> Flow:
    """Build a masked autoregression of normflows on vectors."""
    return on_vectors(FromNormflows(normflows.flows.MaskedAffineAutoregressive(DIMS, 32, num_blocks=1)))


def nflows_unit() -> Flow:
    """Build splines of nflows on the unit interval, before a logit of nflows."""
    splines: list[Any] = [
        PiecewiseRationalQuadraticCouplingTransform(torch.arange(DIMS) % 2 == parity, Net, num_bins=5)
        for parity in (0, 1)
    ]
    layers = CompositeTransform([*splines, NflowsLogit()])
    return Flow(Sequential([Flatten(SHAPE), FromNflows(layers), ActNorm((DIMS,))]), SHAPE)


REFLECTED: Blocks = (
    (GLOWCouplingBlock, {**NETS, "clamp": 1.0}),
    (HouseholderPerm, {"n_reflections": 4}),
    (RNVPCouplingBlock, NETS),
)
HEALTHY_LIBRARIES: dict[str, Case] = {
    "normflows_saved": Case(partial(normflows_centred, SavedCentred), fit_centred),
    "normflows_made": Case(normflows_made),
    "nflows_reversed": Case(nflows_turns, train_quickly),
    "nflows_unit": Case(nflows_unit, partial(train, n_steps=100)),
    "zuko_rows": Case(zuko_rows, partial(train, n_steps=400, lr=3e-3)),
    "zuko_classes": Case(zuko_classes, fit_classes, shown_with_labels),
    "freia_three": Case(partial(freia, COUPLINGS), train_quickly),
    "freia_reflected": Case(partial(freia, REFLECTED), train_quickly),
    "freia_two_levels": Case(partial(freia, COUPLINGS[:2]), fit_two_levels, shown_two_levels),
}
