"""Residual, autoregressive and continuous flows for ``python -m benchmarks.speed.peers``.

``residual`` has steps of [normalization, residual block] on two scales, and factors nothing out (Chen et al. 2019).
Each of its training steps takes five power iterations; three terms of the log-determinant's series are always summed,
in evaluation 21. ``maf`` has masked perceptrons with one hidden layer, in alternating orders (Papamakarios et al.
2017).
``continuous`` moves the flat image along the velocities of a perceptron, with an estimated divergence (Grathwohl et al.
2019); each library solves the equation as it does for its users: ours with four steps of equal length in training and
eight for samples, zuko always to its tolerance.
"""

import math
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

from nf_mnist.adapters import FromNormflows, FromZuko
from nf_mnist.bijectors import (
    ActNorm,
    Bijector,
    Flatten,
    InvertibleResidual,
    LogDetSeries,
    Logit,
    OdeSolver,
    Sequential,
    Shape,
    Squeeze,
)
from nf_mnist.flows import Flow, RegularizedFlow, maf
from nf_mnist.nets import ContractiveNet

EVENT = (1, 28, 28)
DIMS = torch.Size(EVENT).numel()
N_BLOCKS, HIDDEN_CHANNELS = 4, 128  # of the residual flow, at each scale
COEFFICIENT, N_TERMS = 0.98, (3, 21)  # normflows sums one more term than it is asked for
N_ORDERS, HIDDEN_FEATURES = 2, 1024  # of the autoregressive flow
VELOCITY_FEATURES, N_FREQUENCIES = (512, 512), 3
Builder = Callable[[str], Flow]


def on_logits(*layers: Bijector) -> Flow:
    """Return a flow on images in (0, 1): a logit, some layers, and a standard normal."""
    return Flow(Sequential([Logit(), *layers]), EVENT)


def ours_residual(kind: str) -> Flow:
    """Build a residual flow with this project's bijectors, as ``model=residual_flow`` runs it."""
    shape: Shape = EVENT
    layers: list[Bijector] = []
    for _ in range(2):
        squeeze = Squeeze(shape)
        shape = squeeze.event_shape_out
        layers.append(squeeze)
        for _ in range(N_BLOCKS):
            net = ContractiveNet(shape, HIDDEN_CHANNELS, (3, 1, 3), COEFFICIENT)
            block = InvertibleResidual(net, LogDetSeries(*N_TERMS))
            block.recompute = True
            layers += [ActNorm(shape), block]
    return on_logits(*layers, Flatten(shape))


def residual_with_normflows(kind: str) -> Flow:
    """Build a residual flow with normflows."""
    import normflows as nf

    flows: list[nn.Module] = []
    for channels in (16, 4):
        widths = [channels, HIDDEN_CHANNELS, HIDDEN_CHANNELS, channels]
        for _ in range(N_BLOCKS):
            net = nf.nets.LipschitzCNN(widths, [3, 1, 3], COEFFICIENT, init_zeros=False)
            flows += [nf.flows.Residual(net), nf.flows.ActNorm((channels, 1, 1))]
        flows.append(nf.flows.Squeeze())
    flow = nf.NormalizingFlow(None, flows).float()  # its spectral norms are in float64
    return on_logits(FromNormflows(flow), Flatten((16, 7, 7)))


def ours_maf(kind: str) -> Flow:
    """Build a masked autoregressive flow as ``model=maf`` does, without its normalization."""
    return maf(
        event_shape=EVENT,
        preprocess=lambda shape: Logit(),
        norm=lambda shape: [],
        n_layers=N_ORDERS,
        hidden_features=HIDDEN_FEATURES,
        transform="affine",
        scale_activation="soft_clamp",
        n_bins=8,
        bound=3.0,
        predicted_from="data",
        n_classes=0,
    )


def maf_with_normflows(kind: str) -> Flow:
    """Build a masked autoregressive flow with normflows, whose network of this size has no activation."""
    import normflows as nf

    flows = []
    for _ in range(N_ORDERS):
        layer = nf.flows.MaskedAffineAutoregressive(DIMS, HIDDEN_FEATURES, num_blocks=0, use_residual_blocks=False)
        flows += [
            nf.flows.Reverse(layer),
            nf.flows.Permute(DIMS, mode="swap"),
        ]  # reversed, its likelihood takes one pass
    return on_logits(Flatten(EVENT), FromNormflows(nf.NormalizingFlow(None, flows)))


def maf_with_zuko(kind: str) -> Flow:
    """Build a masked autoregressive flow with zuko."""
    import zuko

    flow = zuko.flows.MAF(DIMS, transforms=N_ORDERS, hidden_features=(HIDDEN_FEATURES,))
    return on_logits(Flatten(EVENT), FromZuko(flow))


class VelocityMLP(nn.Module):
    """zuko's velocity field: a perceptron of the state and of sines and cosines of the time."""

    def __init__(self) -> None:
        super().__init__()
        widths = (DIMS + 2 * N_FREQUENCIES, *VELOCITY_FEATURES, DIMS)
        linear = [nn.Linear(*pair) for pair in pairwise(widths)]
        self.net = nn.Sequential(linear[0], nn.ELU(), linear[1], nn.ELU(), linear[2])

    def forward(self, x: Tensor, time: Tensor, context: Tensor | None = None) -> Tensor:
        """Map images, shape (batch, *EVENT), and times, shape (batch,), to velocities, shape of the images."""
        angles = time[:, None] * math.pi * torch.arange(1, N_FREQUENCIES + 1, device=x.device)
        return self.net(torch.cat([angles.cos(), angles.sin(), x.flatten(1)], 1)).view_as(x)


def ours_continuous(kind: str) -> Flow:
    """Build a continuous flow with this project's parts, as ``model=ffjord`` runs it, without its prices."""
    solvers = OdeSolver(), OdeSolver(n_steps=8), OdeSolver(n_steps=4)
    return RegularizedFlow(Logit(), VelocityMLP(), *solvers, EVENT, 0, kinetic_weight=0.0, frobenius_weight=0.0)


def continuous_with_zuko(kind: str) -> Flow:
    """Build a continuous flow with zuko."""
    import zuko

    flow = zuko.flows.CNF(DIMS, freqs=N_FREQUENCIES, hidden_features=VELOCITY_FEATURES, exact=False)
    return on_logits(Flatten(EVENT), FromZuko(flow))


FAMILIES: dict[str, dict[str, Builder]] = {
    "residual": {"nf_mnist": ours_residual, "normflows": residual_with_normflows},
    "maf": {"nf_mnist": ours_maf, "normflows": maf_with_normflows, "zuko": maf_with_zuko},
    "continuous": {"nf_mnist": ours_continuous, "zuko": continuous_with_zuko},
}
PLAIN = [
    ("residual", "normflows"),  # its power iterations take float32 and weights in the default layout only
    ("continuous", "zuko"),  # its solver does not reach its tolerance in bfloat16, and takes ever smaller steps
]
