"""Faulty flows of layers of FrEIA and zuko."""

from functools import partial
from typing import Any

import torch
import zuko
from FrEIA.framework import SequenceINN
from FrEIA.modules import InvertibleModule, NICECouplingBlock, OrthogonalTransform, RNVPCouplingBlock
from torch import Tensor, nn

from benchmarks.diagnosis.blind.builders import DIMS
from benchmarks.diagnosis.blind.cases import Case, Shown, shown_plainly, shown_with_labels, training_and_validation
from benchmarks.diagnosis.blind.fourth.layers import after_logit
from benchmarks.diagnosis.blind.third.layers import Net, on_vectors, train_quickly
from benchmarks.diagnosis.blind.training import BATCH_SIZE, log_likelihood, train
from nf_mnist.adapters import FromFrEIA, FromZuko
from nf_mnist.bijectors import Bijector
from nf_mnist.data import UniformDequantizer, draw_noise
from nf_mnist.flows import Flow

Blocks = tuple[tuple[type[InvertibleModule], dict[str, Any]], ...]
NETS = {"subnet_constructor": Net}
ROTATED: Blocks = (
    (RNVPCouplingBlock, NETS),
    (OrthogonalTransform, {"correction_interval": 1_000_000}),
    (NICECouplingBlock, NETS),
)
COUPLINGS: Blocks = ((NICECouplingBlock, NETS), (RNVPCouplingBlock, NETS), (RNVPCouplingBlock, NETS))


def freia(blocks: Blocks) -> Flow:
    """Build blocks of FrEIA on vectors, each given as its class and its settings."""
    sequence = SequenceINN(DIMS)
    for block, settings in blocks:
        sequence.append(block, **settings)
    return on_vectors(FromFrEIA(sequence))


def fit_accumulated(flow: nn.Module, n_steps: int = 160) -> None:
    """Train without setting gradients to zero, so that each step follows the sum of all gradients so far."""
    optimizer = torch.optim.Adam(flow.parameters(), 2e-3)
    levels = training_and_validation()[0].levels
    flow.train()
    for _ in range(n_steps):
        index = torch.randint(len(levels), (BATCH_SIZE,))
        x, _ = UniformDequantizer()(levels[index], draw_noise(levels[index]))
        (-log_likelihood(flow, x, None).mean()).backward()
        optimizer.step()
    flow.eval()


def shown_divided() -> Shown:
    """Return validation images that were divided by 255 before they became bytes: of levels 0 and 1 only."""
    shown = shown_plainly()
    return shown._replace(levels=(shown.levels / 255).round().to(torch.uint8))


def zuko_rows(passes: int = DIMS) -> Flow:
    """Build an affine autoregression of zuko, which is inverted in so many passes."""
    lazy = zuko.flows.MAF(DIMS, transforms=1, hidden_features=[64])
    for transform in lazy.transform.transforms:
        transform.passes = passes
    return on_vectors(FromZuko(lazy))


def zuko_splines() -> FromZuko:
    """Build spline couplings of zuko, which transform what lies between -5 and 5."""
    return FromZuko(zuko.flows.NSF(DIMS, bins=4, transforms=2, passes=2, hidden_features=[32]))


def zuko_couplings() -> Flow:
    """Build affine couplings of zuko with random permutations."""
    return on_vectors(FromZuko(zuko.flows.NICE(DIMS, transforms=4, hidden_features=[48], randmask=True)))


def fit_in_order(flow: nn.Module, n_steps: int = 300) -> None:
    """Train on images that are sorted by their labels, as files of a folder for each class are."""
    images, _ = training_and_validation()
    n = BATCH_SIZE * n_steps
    assert images.labels is not None
    order = images.labels[:n].argsort()
    optimizer = torch.optim.Adam(flow.parameters(), 2e-3)
    flow.train()
    for index in order.split(BATCH_SIZE):
        x, _ = UniformDequantizer()(images.levels[index], draw_noise(images.levels[index]))
        optimizer.zero_grad()
        (-log_likelihood(flow, x, None).mean()).backward()
        optimizer.step()
    flow.eval()


class Embedded(Bijector):
    """Gives a bijector labels as learned vectors.

    Args:
        bijector: The bijector.
        features: Size of the vectors.
    """

    def __init__(self, bijector: Bijector, features: int) -> None:
        super().__init__()
        self.bijector, self.embedding = bijector, nn.Embedding(10, features)

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.bijector(x, self.embedding(context).to(x))

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.bijector.inverse_and_log_det(z, self.embedding(context).to(z))


def zuko_classes(features: int = 8) -> Flow:
    """Build maps of single elements of zuko that take the label, and couplings."""
    elements = zuko.flows.ElementWiseTransform(DIMS, features, hidden_features=())
    couplings = FromZuko(zuko.flows.NICE(DIMS, transforms=2, hidden_features=[64]))
    return on_vectors(Embedded(FromZuko(elements), features), Unlabelled(couplings), n_classes=10)


class Unlabelled(Bijector):
    """Keeps labels from a bijector that takes none."""

    def __init__(self, bijector: Bijector) -> None:
        super().__init__()
        self.bijector = bijector

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.bijector(x)

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.bijector.inverse_and_log_det(z)


def fit_classes(flow: nn.Module) -> None:
    """Train on images and their labels."""
    images, _ = training_and_validation()
    train(flow, 300, 5e-3, levels=images.levels, labels=images.labels)


def shown_with_next_labels() -> Shown:
    """Return validation images with labels that are counted from 1, of which 10 became 0."""
    shown = shown_with_labels()
    assert shown.labels is not None
    return shown._replace(labels=(shown.labels + 1) % 10)


FAULTY_FREIA_ZUKO: dict[str, Case] = {
    "freia_rotated": Case(partial(freia, ROTATED), train_quickly),
    "freia_levels": Case(partial(freia, COUPLINGS), shown=shown_divided, weights="freia_three"),
    "freia_sums": Case(partial(freia, COUPLINGS), fit_accumulated),
    "zuko_passes": Case(partial(zuko_rows, 1), weights="zuko_rows"),
    "zuko_logits": Case(lambda: after_logit(zuko_splines()), partial(train, n_steps=80)),
    "zuko_folders": Case(zuko_couplings, fit_in_order),
    "zuko_next": Case(zuko_classes, shown=shown_with_next_labels, weights="zuko_classes"),
}
