"""Faulty flows of layers of normflows and nflows."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from nflows.transforms import AffineCouplingTransform, BatchNorm, CompositeTransform, Transform
from nflows.transforms.normalization import ActNorm as NflowsActNorm
from normflows import NormalizingFlow
from normflows.distributions import DiagGaussian
from normflows.flows import Flow as NormflowsFlow
from normflows.flows import GlowBlock, MaskedAffineFlow
from normflows.flows import Squeeze as NormflowsSqueeze
from normflows.nets import MLP
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.diagnosis.blind.builders import DIMS, SHAPE
from benchmarks.diagnosis.blind.cases import Case
from benchmarks.diagnosis.blind.third.layers import Net, on_vectors, train_quickly
from benchmarks.diagnosis.blind.training import train
from nf_mnist.adapters import FromNflows, FromNormflows
from nf_mnist.bijectors import Flatten, Logit, Sequential
from nf_mnist.flows import Flow

Flows = list[NormflowsFlow]


def masked_affine(parity: int) -> MaskedAffineFlow:
    """Build an affine coupling of normflows whose log-scales are bounded."""
    scale = MLP([DIMS, 48, DIMS], output_fn="tanh", init_zeros=True)
    return MaskedAffineFlow((torch.arange(DIMS) % 2 == parity).float(), MLP([DIMS, 48, DIMS], init_zeros=True), scale)


def masked_affines(n: int = 4) -> Flows:
    """Build couplings of normflows whose masks alternate."""
    return [masked_affine(i % 2) for i in range(n)]


class EarlyNormalizingFlow(NormalizingFlow):
    """https://github.com/VincentStimper/normalizing-flows/issues/27: a minus sign on the way to the data."""

    def forward_and_log_det(self, z: Tensor) -> tuple[Tensor, Tensor]:
        log_det = z.new_zeros(len(z))
        for flow in self.flows:
            z, log_d = flow(z)
            log_det = log_det - log_d
        return z, log_det


class OtherSqueeze(NormflowsSqueeze):
    """The squeeze of normflows whose two directions order the four channels differently.

    https://github.com/openai/glow/issues/88 is about the two orders in use.
    """

    def forward(self, z: Tensor) -> tuple[Tensor, int]:
        n, channels, height, width = z.shape
        z = z.view(n, channels // 4, 2, 2, height, width).permute(0, 1, 4, 3, 5, 2)
        return z.reshape(n, channels // 4, 2 * height, 2 * width), 0


class Shuffle(NormflowsFlow):
    """A permutation that is drawn when the flow is built, and not saved with its weights.

    https://github.com/AlessioGalluccio/FastFlow/issues/14: it must be the same for good.
    """

    def __init__(self) -> None:
        super().__init__()
        self.order = np.random.default_rng().permutation(DIMS)

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return z[:, np.argsort(self.order)], z.new_zeros(len(z))

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Permute the other way."""
        return z[:, self.order], z.new_zeros(len(z))


def normflows_model(model: type[NormalizingFlow] = NormalizingFlow) -> Flow:
    """Build a model of normflows on vectors."""
    return on_vectors(FromNormflows(model(DiagGaussian(DIMS, trainable=False), masked_affines())))


def normflows_shuffled(shuffle: Callable[[], NormflowsFlow] = Shuffle) -> Flow:
    """Build couplings of normflows with permutations between them."""
    layers = [layer for i in range(4) for layer in (masked_affine(i % 2), shuffle())]
    return on_vectors(*map(FromNormflows, layers))


def normflows_squeezed(squeeze: type[NormflowsSqueeze] = OtherSqueeze) -> Flow:
    """Build two blocks of Glow of normflows on a squeezed image."""
    shape = (4, 14, 14)
    blocks = [FromNormflows(GlowBlock(4, 16, split_mode="channel", scale=True)) for _ in range(2)]
    return Flow(Sequential([Logit(), FromNormflows(squeeze()), *blocks, Flatten(shape)]), SHAPE)


class NetWithDropout(Net):
    """https://github.com/probabilists/zuko/issues/29: with dropout a coupling is no bijection; this one never stops."""

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return super().forward(F.dropout(x, 0.05))


class NetWithBatchNorm(Net):
    """https://github.com/kamenbliznashki/normalizing_flows/issues/13: normalised by the batch, in evaluation, too."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(n_in, n_out)
        norm = nn.BatchNorm1d(n_in, affine=False, track_running_stats=False)
        self.inner = nn.Sequential(norm, self.inner)


class OnwardComposite(CompositeTransform):
    """A composition whose inverse takes its parts in the same order, as loops over layers often do."""

    def inverse(self, inputs: Tensor, context: Tensor | None = None) -> Any:
        """Invert each part, beginning with the first."""
        return self._cascade(inputs, [part.inverse for part in self._transforms], context)


class RestlessBatchNorm(BatchNorm):
    """https://github.com/ikostrikov/pytorch-flows/issues/8: statistics follow each batch, also in evaluation."""

    def forward(self, inputs: Tensor, context: Tensor | None = None) -> Any:
        """Update the running statistics and normalise by them."""
        with torch.no_grad():
            self.running_mean.lerp_(inputs.mean(0), self.momentum)
            self.running_var.lerp_(inputs.var(0, unbiased=False), self.momentum)
        scale = self.weight / (self.running_var + self.eps).sqrt()
        log_det = scale.log().sum() * inputs.new_ones(len(inputs))
        return (inputs - self.running_mean.clone()) * scale + self.bias, log_det


def nflows_couplings(
    net: type[Net] = Net,
    composite: type[CompositeTransform] = CompositeTransform,
    norm: Callable[[int], Transform] = NflowsActNorm,
) -> Flow:
    """Build affine couplings of nflows, each after a normalisation."""
    layers: list[Transform] = []
    for i in range(4):
        layers += [norm(DIMS), AffineCouplingTransform(torch.arange(DIMS) % 2 == i % 2, net)]
    return on_vectors(FromNflows(composite(layers)))


FAULTY_LIBRARIES: dict[str, Case] = {
    "normflows_model": Case(partial(normflows_model, EarlyNormalizingFlow), weights="normflows_plain"),
    "normflows_squeezed": Case(normflows_squeezed, partial(train, n_steps=60)),
    "normflows_shuffled": Case(normflows_shuffled, train_quickly),
    "nflows_sparse": Case(partial(nflows_couplings, NetWithDropout), weights="nflows_four"),
    "nflows_normalised": Case(partial(nflows_couplings, NetWithBatchNorm), train_quickly),
    "nflows_composite": Case(partial(nflows_couplings, composite=OnwardComposite), weights="nflows_four"),
    "nflows_batchnorm": Case(partial(nflows_couplings, norm=RestlessBatchNorm), train_quickly),
}
