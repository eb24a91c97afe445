"""Healthy flows of normflows, nflows, zuko and FrEIA."""

import torch
import zuko
from nflows.nn.nets import ResidualNet
from nflows.transforms import (
    CompositeTransform,
    MaskedAffineAutoregressiveTransform,
    PiecewiseRationalQuadraticCouplingTransform,
    ReversePermutation,
)
from normflows.flows import GlowBlock, MaskedAffineFlow, Residual
from normflows.nets import LipschitzMLP
from torch import Tensor, nn

from benchmarks.diagnosis.blind.builders import DIMS, SHAPE, fit_with_labels_briefly, on_vectors
from benchmarks.diagnosis.blind.cases import Case, shown_with_labels
from benchmarks.diagnosis.blind.first.faulty_libraries import (
    masked_affine,
    nflows_couplings,
    nice,
    normflows_layers,
)
from benchmarks.diagnosis.blind.plain import ToLogits
from benchmarks.diagnosis.blind.training import train
from nf_mnist.adapters import FromNflows, FromZuko
from nf_mnist.bijectors import ActNorm, Bijector, Flatten, Logit, Sequential, Squeeze
from nf_mnist.flows import Flow


class LabelsAsVectors(Bijector):
    """Gives a bijector labels as vectors of zeros and a one."""

    def __init__(self, bijector: Bijector) -> None:
        super().__init__()
        self.bijector = bijector

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.bijector(x, nn.functional.one_hot(context, 10).to(x))

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.bijector.inverse_and_log_det(z, nn.functional.one_hot(context, 10).to(z))


class FromFreia(nn.Module):
    """A sequence of FrEIA after a logit, on images."""

    def __init__(self, sequence: nn.Module) -> None:
        super().__init__()
        self.logits, self.sequence = ToLogits(), sequence

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map images to vectors."""
        y, first = self.logits.forward_and_log_det(x.flatten(1))
        z, log_det = self.sequence(y)
        return z, first + log_det

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Map vectors to images."""
        y, log_det = self.sequence(z, rev=True)
        x, last = self.logits.inverse_and_log_det(y)
        return x.reshape(-1, *SHAPE), log_det + last


def freia(kind: str) -> FromFreia:
    """Build two blocks of FrEIA, which is not among this project's requirements."""
    import FrEIA.framework
    import FrEIA.modules

    def net(n_in: int, n_out: int) -> nn.Module:
        return nn.Sequential(nn.Linear(n_in, 64), nn.ReLU(), nn.Linear(64, n_out))

    sequence = FrEIA.framework.SequenceINN(DIMS)
    for _ in range(2):
        sequence.append(getattr(FrEIA.modules, kind), subnet_constructor=net)
    return FromFreia(sequence)


def nflows_splines() -> Flow:
    """Build spline couplings of nflows."""

    def net(n_in: int, n_out: int) -> nn.Module:
        return ResidualNet(n_in, n_out, hidden_features=32, num_blocks=1)

    layers = [
        PiecewiseRationalQuadraticCouplingTransform(
            torch.arange(DIMS) % 2 == parity, net, num_bins=4, tails="linear", tail_bound=4.0
        )
        for parity in (0, 1)
    ]
    return on_vectors(FromNflows(CompositeTransform(layers)))


def nflows_autoregressive() -> Flow:
    """Build masked autoregressive layers of nflows."""
    first, second = (MaskedAffineAutoregressiveTransform(DIMS, 64, num_blocks=1) for _ in range(2))
    return on_vectors(FromNflows(CompositeTransform([first, ReversePermutation(DIMS), second])))


def normflows_glow() -> Flow:
    """Build blocks of normflows' Glow on a squeezed image."""
    squeeze = Squeeze(SHAPE)
    shape = squeeze.event_shape_out
    blocks = normflows_layers(*(GlowBlock(shape[0], 16, split_mode="channel", scale=True) for _ in range(2)))
    return Flow(Sequential([Logit(), squeeze, ActNorm(shape), *blocks, Flatten(shape)]), SHAPE)


def normflows_residual() -> Flow:
    """Build two residual blocks of normflows, whose log-determinants are estimates."""
    blocks = (Residual(LipschitzMLP([DIMS, 32, DIMS], lipschitz_const=0.9), reduce_memory=False) for _ in range(2))
    return on_vectors(*normflows_layers(*blocks))


def zuko_labels() -> Flow:
    """Build spline couplings of zuko that take labels."""
    splines = zuko.flows.NSF(DIMS, context=10, transforms=2, bins=4, passes=2, hidden_features=[32])
    layers = [Logit(), Flatten(SHAPE), ActNorm((DIMS,)), LabelsAsVectors(FromZuko(splines))]
    return Flow(Sequential(layers), SHAPE, n_classes=10)


def zuko_ode() -> Flow:
    """Build a continuous flow of zuko, whose log-determinants are estimates."""
    return on_vectors(FromZuko(zuko.flows.CNF(DIMS, exact=False, hidden_features=[32])))


def normflows_affine() -> Flow:
    """Build affine layers of normflows."""
    return on_vectors(*normflows_layers(*(masked_affine(MaskedAffineFlow, i % 2) for i in range(4))))


HEALTHY_LIBRARIES: dict[str, Case] = {
    "normflows_affine": Case(normflows_affine, train),
    "normflows_glow": Case(normflows_glow),
    "normflows_residual": Case(normflows_residual),
    "nflows_affine": Case(lambda: on_vectors(nflows_couplings()), train),
    "nflows_splines": Case(nflows_splines, train),
    "nflows_autoregressive": Case(nflows_autoregressive),
    "zuko_nice": Case(lambda: on_vectors(nice(), nice()), train),
    "zuko_splines_with_labels": Case(zuko_labels, fit_with_labels_briefly, shown_with_labels),
    "zuko_ode": Case(zuko_ode),
    "freia_glow": Case(lambda: freia("GLOWCouplingBlock"), train),
    "freia_all_in_one": Case(lambda: freia("AllInOneBlock")),
}
