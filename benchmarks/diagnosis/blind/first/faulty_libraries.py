"""Faulty flows of normflows, nflows and zuko, and mistakes around their layers."""

from collections.abc import Callable

import torch
import zuko
from nflows.nn.nets import ResidualNet
from nflows.transforms import AffineCouplingTransform, CompositeTransform, Transform
from normflows.flows import AffineCouplingBlock, MaskedAffineFlow
from normflows.flows.affine.coupling import AffineCoupling
from normflows.nets import MLP
from torch import Tensor, nn

from benchmarks.diagnosis.blind.builders import DIMS, on_vectors
from benchmarks.diagnosis.blind.cases import Case
from benchmarks.diagnosis.blind.training import train, train_briefly
from nf_mnist.adapters import FromNflows, FromNormflows, FromZuko
from nf_mnist.bijectors import Bijector, Logit, Sequential
from nf_mnist.flows import Flow


def masked_affine(kind: type[MaskedAffineFlow], parity: int) -> MaskedAffineFlow:
    """Build an affine layer of normflows that keeps the even (0) or the odd (1) dimensions."""
    mask = (torch.arange(DIMS) % 2 == parity).float()
    return kind(mask, MLP([DIMS, 64, DIMS], init_zeros=True), MLP([DIMS, 64, DIMS], init_zeros=True, output_fn="tanh"))


class OtherMaskFlow(MaskedAffineFlow):
    """From latent to data, the mask is that of the other half."""

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        mask, self.b = self.b, 1 - self.b
        try:
            return super().forward(z)
        finally:
            self.b = mask


class SigmoidCoupling(AffineCoupling):
    """Scales by ``sigmoid(s + 2)``, but the log-determinant is that of ``sigmoid(s)``."""

    def inverse(self, z: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        values, _ = super().inverse(z)
        return values, nn.functional.logsigmoid(self.param_map(z[0])[:, 1::2]).sum(1)

    def forward(self, z: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        values, _ = super().forward(z)
        return values, -nn.functional.logsigmoid(self.param_map(z[0])[:, 1::2]).sum(1)


def sigmoid_block() -> AffineCouplingBlock:
    """Build a coupling of normflows with the wrong log-determinant."""
    net = [DIMS // 2, 64, DIMS]
    block = AffineCouplingBlock(MLP(net, init_zeros=True), scale_map="sigmoid", split_mode="channel")
    block.flows[1] = SigmoidCoupling(MLP(net, init_zeros=True), scale_map="sigmoid")
    return block


def nflows_coupling(parity: int) -> AffineCouplingTransform:
    """Build a coupling of nflows that moves the even (0) or the odd (1) dimensions."""

    def net(n_in: int, n_out: int) -> nn.Module:
        return ResidualNet(n_in, n_out, hidden_features=64, num_blocks=1)

    return AffineCouplingTransform((torch.arange(DIMS) % 2 == parity).long(), net)


class StoredAsHalf(Transform):
    """Activations go through float16, to save memory."""

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return inputs.half().to(inputs.dtype), inputs.new_zeros(len(inputs))

    def inverse(self, inputs: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.forward(inputs)


class Dithered(Bijector):
    """The model dithers its input, which was dithered already."""

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return (255 * x + torch.rand_like(x)) / 256, x.new_zeros(len(x))

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return z, z.new_zeros(len(z))


class Detached(Bijector):
    """Passes values on without their gradients, to save memory between two halves of a flow."""

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x.detach(), x.new_zeros(len(x))

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return z.detach(), z.new_zeros(len(z))


class TwoMarginLogit(Logit):
    """The inverse has another margin than forward."""

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return Logit(1e-3).inverse_and_log_det(z)


def nice() -> FromZuko:
    """Build couplings of zuko."""
    return FromZuko(zuko.flows.NICE(DIMS, transforms=2, hidden_features=[64]))


def nflows_couplings(between: Transform | None = None) -> FromNflows:
    """Build two couplings of nflows."""
    middle = [] if between is None else [between]
    return FromNflows(CompositeTransform([nflows_coupling(0), *middle, nflows_coupling(1)]))


def normflows_layers(*layers: nn.Module) -> list[Bijector]:
    """Adapt layers of normflows."""
    return [FromNormflows(layer) for layer in layers]


FLOWS: dict[str, Callable[[], Flow]] = {
    "mask_inverted_in_inverse": lambda: on_vectors(
        *normflows_layers(masked_affine(MaskedAffineFlow, 0), masked_affine(OtherMaskFlow, 1))
    ),
    "sigmoid_without_its_offset": lambda: on_vectors(
        *normflows_layers(masked_affine(MaskedAffineFlow, 0), sigmoid_block())
    ),
    "activations_in_half": lambda: on_vectors(nflows_couplings(StoredAsHalf())),
    "dithered_twice": lambda: on_vectors(nflows_couplings(), first=Sequential([Dithered(), Logit()])),
    "halves_detached": lambda: on_vectors(nice(), Detached(), nice()),
    "margins_of_logit_differ": lambda: on_vectors(nice(), first=TwoMarginLogit()),
}
UNTRAINED = ("mask_inverted_in_inverse", "halves_detached", "margins_of_logit_differ")
FIT = {**dict.fromkeys(UNTRAINED), "activations_in_half": train}
FAULTY_LIBRARIES = {name: Case(build, FIT.get(name, train_briefly)) for name, build in FLOWS.items()}
