"""Healthy flows of normflows, nflows, zuko and FrEIA."""

import torch
import zuko
from nflows.nn.nets import ResidualNet
from nflows.transforms import (
    ActNorm,
    CompositeTransform,
    LULinear,
    PiecewiseQuadraticCouplingTransform,
    RandomPermutation,
)
from normflows.flows import CoupledRationalQuadraticSpline, LULinearPermute, MaskedAffineAutoregressive
from torch import Tensor, nn

from benchmarks.diagnosis.blind.builders import DIMS, SHAPE, fit_with_labels_briefly, on_vectors
from benchmarks.diagnosis.blind.cases import Case, shown_with_labels
from benchmarks.diagnosis.blind.plain import Affine, Layer, PlainFlow
from benchmarks.diagnosis.blind.second.faulty_libraries import freia_sequence, masked_affine, nflows_coupling
from benchmarks.diagnosis.blind.second.vector_layers import FirstBatchNorm
from benchmarks.diagnosis.blind.training import train, train_briefly
from nf_mnist.adapters import FromFrEIA, FromNflows, FromNormflows, FromZuko
from nf_mnist.bijectors import ActNorm as OwnActNorm
from nf_mnist.bijectors import Bijector, Flatten, Logit, Sequential
from nf_mnist.flows import Flow


class EmbeddedLabels(Bijector):
    """Gives a bijector a learned vector of each label.

    Args:
        bijector: The bijector.
        features: Length of the vectors.
    """

    def __init__(self, bijector: Bijector, features: int = 8) -> None:
        super().__init__()
        self.bijector, self.embedding = bijector, nn.Embedding(10, features)

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.bijector(x, self.embedding(context))

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.bijector.inverse_and_log_det(z, self.embedding(context))


class FreiaLayer(Layer):
    """A sequence of FrEIA as a layer of a plain flow.

    Args:
        kind: Class of its block.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.sequence = freia_sequence(kind)

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.sequence(x)

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self.sequence(z, rev=True)


def conditional_zuko() -> Flow:
    """Build autoregressive layers of zuko that take learned vectors of labels."""
    maf = zuko.flows.MAF(DIMS, context=8, transforms=1, hidden_features=[48])
    layers = [Logit(), Flatten(SHAPE), OwnActNorm((DIMS,)), EmbeddedLabels(FromZuko(maf))]
    return Flow(Sequential(layers), SHAPE, n_classes=10)


def nflows_quadratic() -> Flow:
    """Build quadratic splines of nflows with linear tails."""

    def net(n_in: int, n_out: int) -> nn.Module:
        return ResidualNet(n_in, n_out, hidden_features=32, num_blocks=1)

    layers = [
        PiecewiseQuadraticCouplingTransform(torch.arange(DIMS) % 2 == parity, net, num_bins=4, tails="linear")
        for parity in (0, 1)
    ]
    return on_vectors(FromNflows(CompositeTransform(layers)))


def nflows_linear() -> Flow:
    """Build a normalization, a matrix, an order and a coupling of nflows."""
    return on_vectors(
        FromNflows(
            CompositeTransform(
                [ActNorm(DIMS), LULinear(DIMS, identity_init=True), RandomPermutation(DIMS), nflows_coupling(0)]
            )
        )
    )


def normflows_splines() -> Flow:
    """Build rational quadratic splines of normflows."""
    splines = (CoupledRationalQuadraticSpline(DIMS, 1, 32, num_bins=4, reverse_mask=bool(i)) for i in range(2))
    return on_vectors(*(FromNormflows(spline) for spline in splines))


def normflows_mixed() -> Flow:
    """Build affine layers and a matrix of normflows."""
    layers = masked_affine(0), LULinearPermute(DIMS), masked_affine(1)
    return on_vectors(*(FromNormflows(layer) for layer in layers))


HEALTHY_LIBRARIES: dict[str, Case] = {
    "normflows_splines": Case(normflows_splines, train_briefly),
    "normflows_mixed": Case(normflows_mixed, train_briefly),
    "normflows_autoregressive": Case(lambda: on_vectors(FromNormflows(MaskedAffineAutoregressive(DIMS, 48)))),
    "nflows_quadratic": Case(nflows_quadratic, train_briefly),
    "nflows_linear": Case(nflows_linear, train_briefly),
    "zuko_maf": Case(lambda: on_vectors(FromZuko(zuko.flows.MAF(DIMS, transforms=1, hidden_features=[48]))), train),
    "zuko_maf_with_labels": Case(conditional_zuko, fit_with_labels_briefly, shown_with_labels),
    "freia_rnvp": Case(lambda: PlainFlow([FirstBatchNorm(), FreiaLayer("RNVPCouplingBlock"), Affine()]), train),
    "freia_nice": Case(lambda: on_vectors(FromFrEIA(freia_sequence("NICECouplingBlock"))), train_briefly),
}
