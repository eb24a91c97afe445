"""Faulty flows of normflows, nflows, zuko and FrEIA: mistakes around layers that are right."""

from collections.abc import Callable
from typing import Any

import torch
import zuko
from nflows.nn.nets import ResidualNet
from nflows.transforms import AffineCouplingTransform, CompositeTransform, Transform
from normflows.flows import MaskedAffineFlow
from normflows.nets import MLP
from torch import Tensor, nn

from benchmarks.diagnosis.blind.builders import DIMS, SHAPE, on_vectors
from benchmarks.diagnosis.blind.cases import Case
from benchmarks.diagnosis.blind.plain import Layer, PlainFlow
from benchmarks.diagnosis.blind.second.vector_layers import FirstBatchNorm
from benchmarks.diagnosis.blind.training import train, train_briefly
from nf_mnist.adapters import FromNflows, FromNormflows, FromZuko
from nf_mnist.bijectors import Flatten, Logit, Sequential
from nf_mnist.flows import Flow


def masked_affine(parity: int) -> MaskedAffineFlow:
    """Build an affine layer of normflows that keeps the even (0) or the odd (1) dimensions."""
    mask = (torch.arange(DIMS) % 2 == parity).float()
    return MaskedAffineFlow(mask, MLP([DIMS, 48, DIMS]), MLP([DIMS, 48, DIMS], output_fn="tanh"))


class GenerativeLogDet(FromNormflows):
    """From data to latent, the log-determinant is that of the way back, which the library calls forward."""

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z, _ = super().forward_and_log_det(x)
        return z, self.to_data(z)[1]


def nflows_coupling(parity: int) -> AffineCouplingTransform:
    """Build a coupling of nflows that moves the even (0) or the odd (1) dimensions."""

    def net(n_in: int, n_out: int) -> nn.Module:
        return ResidualNet(n_in, n_out, hidden_features=48, num_blocks=1)

    return AffineCouplingTransform((torch.arange(DIMS) % 2 == parity).long(), net)


class Shuffle(Transform):
    """A random permutation, which is a plain attribute and therefore drawn anew for each flow, not loaded.

    Args:
        seed: What the moment of its making decides.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.order = torch.randperm(DIMS, generator=torch.Generator().manual_seed(seed))

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return inputs[:, self.order], inputs.new_zeros(len(inputs))

    def inverse(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return inputs[:, self.order.argsort()], inputs.new_zeros(len(inputs))


def shuffled(seed: int = 0) -> Flow:
    """Build couplings of nflows around a permutation."""
    layers = CompositeTransform([nflows_coupling(0), nflows_coupling(1), Shuffle(seed), nflows_coupling(0)])
    return on_vectors(FromNflows(layers))


def fit_with_another_order(flow: nn.Module) -> None:
    """Train a flow whose permutation was drawn at another time, and load its weights."""
    twin = shuffled(seed=1)
    train(twin)
    flow.load_state_dict(twin.state_dict())


def hooked() -> Flow:
    """Build couplings of nflows with a hook that shrinks outputs; gradients were meant to be shrunk."""
    second = nflows_coupling(1)
    second.register_forward_hook(lambda module, inputs, outputs: (0.1 * outputs[0], outputs[1]))
    return on_vectors(FromNflows(CompositeTransform([nflows_coupling(0), second])))


def splines_on_logits() -> Flow:
    """Build splines of zuko, which end at 5, on raw logits, most of which lie beyond."""
    splines = zuko.flows.NSF(DIMS, transforms=2, bins=4, passes=2, hidden_features=[32])
    return Flow(Sequential([Logit(), Flatten(SHAPE), FromZuko(splines)]), SHAPE)


class ZukoUnderNoGrad(FromZuko):
    """The transform is made under ``no_grad``."""

    def _transform(self, context: Tensor | None) -> Any:
        with torch.no_grad():
            return super()._transform(context)


def zuko_under_no_grad() -> Flow:
    """Build an autoregressive flow of zuko whose networks get no gradient."""
    maf = zuko.flows.MAF(DIMS, transforms=1, hidden_features=[48])
    return on_vectors(ZukoUnderNoGrad(maf))


class TwoSequences(Layer):
    """Two sequences of FrEIA, where the log-determinant of the second replaces that of the first."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = freia_sequence("GLOWCouplingBlock"), freia_sequence("GLOWCouplingBlock")

    def forward_and_log_det(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z, log_det = self.first(x)
        z, log_det = self.second(z)
        return z, log_det

    def inverse_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        x, log_det = self.second(z, rev=True)
        x, log_det = self.first(x, rev=True)
        return x, log_det


def freia_sequence(kind: str, hidden: int = 48, **settings: Any) -> nn.Module:
    """Build a sequence of one block of FrEIA, which is not among this project's requirements."""
    import FrEIA.framework
    import FrEIA.modules

    def net(n_in: int, n_out: int) -> nn.Module:
        return nn.Sequential(nn.Linear(n_in, hidden), nn.ReLU(), nn.Linear(hidden, n_out))

    sequence = FrEIA.framework.SequenceINN(DIMS)
    sequence.append(getattr(FrEIA.modules, kind), subnet_constructor=net, **settings)
    return sequence


FLOWS: dict[str, Callable[[], nn.Module]] = {
    "log_det_of_the_way_back": lambda: on_vectors(FromNormflows(masked_affine(0)), GenerativeLogDet(masked_affine(1))),
    "hook_shrinks_outputs": hooked,
    "splines_end_before_the_data": splines_on_logits,
    "networks_under_no_grad": zuko_under_no_grad,
    "log_det_overwritten": lambda: PlainFlow([FirstBatchNorm(), TwoSequences()]),
}
FAULTY_LIBRARIES = {
    **{name: Case(build, train_briefly) for name, build in FLOWS.items()},
    "permutation_not_saved": Case(shuffled, fit_with_another_order),
}
