"""Healthy flows of layers of normflows, nflows, zuko and FrEIA."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import normflows
import torch
import zuko
from FrEIA.framework import GraphINN, InputNode, Node, OutputNode, SequenceINN
from FrEIA.modules import AllInOneBlock, HaarDownsampling, InvertibleModule, Split
from FrEIA.modules import Flatten as FreiaFlatten
from nflows.nn.nets import ResidualNet
from nflows.transforms import (
    AffineCouplingTransform,
    CompositeTransform,
    LULinear,
    ReversePermutation,
)
from normflows.flows import GlowBlock, MaskedAffineFlow, Permute
from torch import Tensor, nn

from benchmarks.diagnosis.blind.builders import DIMS, SHAPE, on_vectors
from benchmarks.diagnosis.blind.cases import Case
from benchmarks.diagnosis.blind.fifth.layers import train_soon
from benchmarks.diagnosis.blind.training import train
from nf_mnist.adapters import FromFrEIA, FromNflows, FromNormflows, FromZuko
from nf_mnist.bijectors import ActNorm, Flatten, Logit, Sequential, Squeeze
from nf_mnist.flows import Flow

SQUEEZED = (4, 14, 14)


class Net(nn.Module):
    """A small perceptron, called with or without a context that it ignores."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.proj_in, self.proj_out = nn.Linear(n_in, 48), nn.Linear(48, n_out)
        nn.init.normal_(self.proj_out.weight, std=0.01)
        nn.init.zeros_(self.proj_out.bias)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Map vectors."""
        return self.proj_out(self.proj_in(x).relu())


class SmallConv(nn.Module):
    """A small convolutional network, whose output is small at first."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        self.proj_in, self.proj_out = nn.Conv2d(n_in, 12, 3, padding=1), nn.Conv2d(12, n_out, 3, padding=1)
        nn.init.normal_(self.proj_out.weight, std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        """Map images."""
        return self.proj_out(self.proj_in(x).relu())


class TwoSided(InvertibleModule):
    """A coupling of FrEIA's kind: the first half is transformed given the second one, then the second given the first.

    Args:
        dims_in: Shapes of the inputs.
        dims_c: Shapes of conditions; there are none.
    """

    def __init__(self, dims_in: Sequence[tuple[int, ...]], dims_c: Any = None) -> None:
        super().__init__(dims_in, dims_c)
        half = dims_in[0][0] // 2
        self.of_first, self.of_second = Net(half, 2 * half), Net(half, 2 * half)

    def told(self, net: nn.Module, given: Tensor) -> tuple[Tensor, Tensor]:
        """Return log-scale and shift."""
        raw, shift = net(given).chunk(2, 1)
        return 2 * torch.tanh(raw / 2), shift

    def forward(self, x: Any, c: Any = None, rev: bool = False, jac: bool = True) -> Any:
        """Transform both halves, or undo that."""
        first, second = x[0].chunk(2, 1)
        if rev:
            first, second, total = self.undo(first, second)
            return (torch.cat([first, second], 1),), -total
        log_scale, shift = self.told(self.of_first, second)
        first = first * log_scale.exp() + shift
        other_scale, other_shift = self.told(self.of_second, first)
        second = second * other_scale.exp() + other_shift
        return (torch.cat([first, second], 1),), (log_scale + other_scale).sum(1)

    def undo(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return both halves before the transformation, and its log-determinant."""
        other_scale, other_shift = self.told(self.of_second, first)
        second = (second - other_shift) * (-other_scale).exp()
        log_scale, shift = self.told(self.of_first, second)
        return (first - shift) * (-log_scale).exp(), second, (log_scale + other_scale).sum(1)

    def output_dims(self, input_dims: Any) -> Any:
        """Return the shape of the result."""
        return input_dims


def normflows_lined(between: Callable[[], nn.Module] = lambda: Permute(DIMS)) -> Flow:
    """Build affine couplings of normflows with permutations between them."""
    layers: list[nn.Module] = []
    for i in range(4):
        nets = (
            normflows.nets.MLP([DIMS, 48, DIMS], init_zeros=True),
            normflows.nets.MLP([DIMS, 48, DIMS], init_zeros=True),
        )
        layers += [MaskedAffineFlow((torch.arange(DIMS) % 2 == i % 2).float(), *nets), between()]
    return on_vectors(FromNormflows(normflows.NormalizingFlow(normflows.distributions.DiagGaussian(DIMS), layers)))


def normflows_glow() -> Flow:
    """Build blocks of Glow on the squeezed image."""
    blocks = [FromNormflows(GlowBlock(4, 12)) for _ in range(3)]
    return Flow(Sequential([Logit(), Squeeze(SHAPE), ActNorm(SQUEEZED), *blocks, Flatten(SQUEEZED)]), SHAPE)


def nflows_matrices(using_cache: bool = False) -> Flow:
    """Build matrices of nflows, which may be kept in mind in evaluation, and couplings."""
    layers: list[Any] = []
    for i in range(2):
        layers += [LULinear(DIMS, using_cache), AffineCouplingTransform(torch.arange(DIMS) % 2 == i, Net)]
    return on_vectors(FromNflows(CompositeTransform(layers)))


def nflows_shared() -> Flow:
    """Build one coupling of nflows that is taken four times, https://github.com/bayesiains/nflows/issues/76."""
    kept = torch.arange(DIMS) % 2 == 0
    pair = [AffineCouplingTransform(kept, Net), ReversePermutation(DIMS)]
    return on_vectors(FromNflows(CompositeTransform(pair * 4)), ActNorm((DIMS,)))


def nflows_residual() -> Flow:
    """Build couplings of nflows whose networks have batch normalisation and dropout, off in evaluation."""
    net = partial(ResidualNet, hidden_features=32, num_blocks=1, dropout_probability=0.1, use_batch_norm=True)
    layers = [AffineCouplingTransform(torch.arange(DIMS) % 2 == i % 2, net) for i in range(3)]
    return on_vectors(FromNflows(CompositeTransform(layers)))


def zuko_sums(bound: float = 60.0) -> Flow:
    """Build monotone polynomials of each element of zuko, and couplings; inverses are looked for within a bound."""
    univariate = partial(zuko.transforms.SOSPolynomialTransform, bound=bound)
    elements = zuko.flows.ElementWiseTransform(DIMS, univariate=univariate, shapes=[(2, 4)])
    with torch.no_grad():
        elements.phi[0].mul_(0.1)
    couplings = zuko.flows.NICE(DIMS, transforms=2, hidden_features=[48])
    return on_vectors(FromZuko(elements), FromZuko(couplings))


def freia_blocks(block: tuple[type[InvertibleModule], dict[str, Any]]) -> Flow:
    """Build three blocks of FrEIA, given as a class and its settings."""
    sequence = SequenceINN(DIMS)
    for _ in range(3):
        sequence.append(block[0], **block[1])
    return on_vectors(FromFrEIA(sequence))


def freia_graph() -> Flow:
    """Build a graph of FrEIA with two outputs, one of them after a split of wavelet coefficients."""
    start = InputNode(*SHAPE)
    haar = Node(start, HaarDownsampling, {})
    mixed = Node(haar, AllInOneBlock, {"subnet_constructor": SmallConv})
    parts = Node(mixed, Split, {"section_sizes": [2, 2], "dim": 0})
    again = Node(parts.out0, AllInOneBlock, {"subnet_constructor": SmallConv, "learned_householder_permutation": 2})
    ends = [Node(out, FreiaFlatten, {}) for out in (again.out0, parts.out1)]
    nodes = [start, haar, mixed, parts, again, *ends, *(OutputNode(end) for end in ends)]
    return Flow(Sequential([Logit(), FromFrEIA(GraphINN(nodes)), ActNorm((DIMS,))]), SHAPE)


HEALTHY_LIBRARIES: dict[str, Case] = {
    "normflows_lined": Case(normflows_lined, train_soon),
    "normflows_glow": Case(normflows_glow, partial(train, n_steps=60, lr=3e-3)),
    "nflows_matrices": Case(nflows_matrices, partial(train, n_steps=60, lr=3e-3)),
    "nflows_shared": Case(nflows_shared, train_soon),
    "nflows_residual": Case(nflows_residual, train_soon),
    "zuko_sums": Case(zuko_sums, partial(train, n_steps=60, lr=5e-3)),
    "freia_sides": Case(partial(freia_blocks, (TwoSided, {})), train_soon),
    "freia_graph": Case(freia_graph, partial(train, n_steps=60, lr=3e-3)),
}
