"""Faulty flows of layers of normflows and nflows."""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from nflows.transforms import (
    ActNorm,
    AffineCouplingTransform,
    CompositeTransform,
    PiecewiseRationalQuadraticCouplingTransform,
    ReversePermutation,
    Transform,
)
from normflows.flows import AffineCouplingBlock, MaskedAffineFlow, Permute
from normflows.flows import Flow as NormflowsFlow
from normflows.nets import MLP
from torch import Tensor, nn

from benchmarks.diagnosis.blind.builders import DIMS
from benchmarks.diagnosis.blind.cases import Case, Shown, shown_plainly, training_and_validation
from benchmarks.diagnosis.blind.fourth.layers import after_logit, dithered
from benchmarks.diagnosis.blind.third.layers import Net, on_vectors, train_quickly
from benchmarks.diagnosis.blind.training import train
from nf_mnist.adapters import FromNflows, FromNormflows
from nf_mnist.flows import Flow

N_FEW = 100


class Stretch(NormflowsFlow):
    """A learned scale of each dimension.

    https://github.com/ikostrikov/pytorch-flows/issues/16: the sign of the log-determinant belongs to the other
    direction.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(DIMS))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return z * self.log_scale.exp(), self.log_scale.sum().expand(len(z))

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Divide by the scale."""
        return z * (-self.log_scale).exp(), self.log_scale.sum().expand(len(z))


class Centred(NormflowsFlow):
    """Mean and deviation of the logits of training images, which are kept beside the weights and not with them."""

    is_saved = False

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(DIMS), persistent=self.is_saved)
        self.register_buffer("std", torch.ones(DIMS), persistent=self.is_saved)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return z * self.std + self.mean, self.std.log().sum().expand(len(z))

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Standardise."""
        return (z - self.mean) / self.std, -self.std.log().sum().expand(len(z))


class SavedCentred(Centred):
    """The same, saved with the weights, which is right."""

    is_saved = True


def wide_affine(parity: int, hidden: int) -> MaskedAffineFlow:
    """Build an affine coupling of normflows."""
    scale = MLP([DIMS, hidden, DIMS], output_fn="tanh", init_zeros=True)
    return MaskedAffineFlow(
        (torch.arange(DIMS) % 2 == parity).float(), MLP([DIMS, hidden, DIMS], init_zeros=True), scale
    )


def swapped_blocks(*first: NormflowsFlow) -> list[NormflowsFlow]:
    """Build couplings of the halves of a vector, which are swapped after each."""
    flows = list(first)
    for _ in range(4):
        net = MLP([DIMS // 2, 64, DIMS], init_zeros=True)
        flows += [AffineCouplingBlock(net, scale_map="sigmoid"), Permute(DIMS, "swap")]
    return flows


def normflows_stretched() -> Flow:
    """Build couplings of normflows and a scale of each dimension."""
    return on_vectors(*map(FromNormflows, swapped_blocks(Stretch())))


def normflows_centred(centred: type[Centred] = Centred) -> Flow:
    """Build couplings of normflows after a standardisation by fixed numbers."""
    return after_logit(FromNormflows(centred()), *map(FromNormflows, swapped_blocks()))


def fit_centred(flow: nn.Module) -> None:
    """Take mean and deviation from training images, then train."""
    logit, flatten, centred, *_ = cast(Any, flow).bijector.layers()
    std, mean = torch.std_mean(flatten(logit(dithered(4000))[0])[0], 0)
    centred.flow.mean.copy_(mean)
    centred.flow.std.copy_(std)
    train_quickly(flow)


def normflows_wide() -> Flow:
    """Build couplings of normflows with wide networks."""
    return on_vectors(*[FromNormflows(wide_affine(i % 2, 128)) for i in range(4)])


def fit_few(flow: nn.Module) -> None:
    """Train on few images."""
    train(flow, 400, 2e-3, levels=training_and_validation()[0].levels[:N_FEW])


def shown_few() -> Shown:
    """Return validation images, and the few of the training."""
    shown = shown_plainly()
    return shown._replace(train=shown.train[:N_FEW])


class Clamp(Transform):
    """Cuts off what lies outside the domain of a spline.

    https://github.com/bayesiains/nflows/issues/23 and others are about inputs outside of it.
    """

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> Any:
        """Cut off."""
        return inputs.clamp(-2.5, 2.5), inputs.new_zeros(len(inputs))

    def inverse(self, inputs: Tensor, context: Tensor | None = None) -> Any:
        """Cut off."""
        return self.forward(inputs, context)


def nflows_splines(*first: Transform) -> Flow:
    """Build splines of nflows."""
    splines = [
        PiecewiseRationalQuadraticCouplingTransform(
            torch.arange(DIMS) % 2 == parity, Net, num_bins=4, tails="linear", tail_bound=2.5
        )
        for parity in (0, 1)
    ]
    return on_vectors(FromNflows(CompositeTransform([*first, *splines])))


def nflows_turns(between: Callable[[int], Transform] | None = ReversePermutation) -> Flow:
    """Build affine couplings of nflows that all transform the elements of even index, with something between them."""
    layers: list[Transform] = []
    for _ in range(4):
        layers += [ActNorm(DIMS), AffineCouplingTransform(torch.arange(DIMS) % 2 == 0, Net)]
        layers += [] if between is None else [between(DIMS)]
    return on_vectors(FromNflows(CompositeTransform(layers)))


def fit_two_runs(flow: nn.Module) -> None:
    """Train twice from different beginnings, and average the weights."""
    train(flow, 300, 3e-3)
    other = nflows_turns()
    train(other, 300, 3e-3)
    with torch.no_grad():
        for parameter, second in zip(flow.parameters(), other.parameters(), strict=True):
            parameter.lerp_(second, 0.5)


def shown_brighter() -> Shown:
    """Return validation images made brighter by 60 levels in bytes, which begin again at 0 above 255."""
    shown = shown_plainly()
    return shown._replace(levels=shown.levels + 60)


FAULTY_LIBRARIES: dict[str, Case] = {
    "normflows_stretch": Case(normflows_stretched, train_quickly),
    "normflows_fixed": Case(normflows_centred, fit_centred),
    "normflows_wide": Case(normflows_wide, fit_few, shown_few),
    "nflows_bounds": Case(lambda: nflows_splines(Clamp()), train_quickly),
    "nflows_evens": Case(partial(nflows_turns, None), train_quickly),
    "nflows_two_runs": Case(nflows_turns, fit_two_runs),
    "nflows_bright": Case(nflows_turns, shown=shown_brighter, weights="nflows_reversed"),
}
