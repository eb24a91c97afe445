"""The architectures that ``python -m benchmarks.speed.peers`` compares, built with this project and with others.

Networks are the same everywhere; couplings bound their scales as each library does. ``glow`` and ``realnvp`` halve the
image twice. A step of ``glow`` is [normalization, 1x1 convolution, affine coupling] (Kingma & Dhariwal 2018) with
Glow's three convolutions; one of ``realnvp`` is [normalization, affine coupling of alternating halves] with residual
networks (Dinh et al. 2017). Since nflows has only Real NVP's masks of channels, the squeeze comes first. ``flat`` has
couplings of every second pixel, with multi-layer perceptrons. Other families are in ``peers_families``.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from benchmarks.speed.peers_families import EVENT, FAMILIES, Builder, on_logits
from nf_mnist.adapters import FromNflows, FromNormflows, FromZuko
from nf_mnist.bijectors import (
    ActNorm,
    AffineCoupling,
    Bijector,
    Flatten,
    InvertibleConv,
    Shape,
    Squeeze,
    make_mask,
)
from nf_mnist.flows import Flow
from nf_mnist.flows.components import factor_out_half
from nf_mnist.nets import PreactivationResNet

N_STEPS = {"glow": 8, "realnvp": 4}  # at each of two scales
HIDDEN_CHANNELS = {"glow": 128, "realnvp": 64}
N_COUPLINGS, FEATURES = 8, (512, 512)  # of the flat flow
LATENTS = [(8, 7, 7), (2, 14, 14)]  # of the image flows: what is left, and what was factored out before


class ConvNet(nn.Sequential):
    """Glow's conditioner as in normflows: 3x3, 1x1 and 3x3 convolutions with ReLUs; the last one starts at zero."""

    def __init__(self, in_channels: int, channels: int, out_channels: int) -> None:
        last = nn.Conv2d(channels, out_channels, 3, padding=1)
        for parameter in last.parameters():
            nn.init.zeros_(parameter)
        enter, middle = nn.Conv2d(in_channels, channels, 3, padding=1), nn.Conv2d(channels, channels, 1)
        super().__init__(enter, nn.ReLU(), middle, nn.ReLU(), last)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return super().forward(x)


class OnHalf(nn.Module):
    """Conditioner of our masked couplings: a network that sees the kept half and predicts for the other one."""

    def __init__(self, net: nn.Module, kept: slice, free: slice) -> None:
        super().__init__()
        self.net, self.kept, self.free = net, kept, free

    def forward(self, x: Tensor) -> Tensor:
        raw = self.net(x[:, self.kept])
        both = raw.new_zeros(len(raw), 2, *x.shape[1:])
        both[:, :, self.free] = raw.unflatten(1, (2, -1))
        return both.flatten(1, 2)


def network(kind: str, in_channels: int, out_channels: int) -> nn.Module:
    """Return the conditioner of an image flow."""
    if kind == "glow":
        return ConvNet(in_channels, HIDDEN_CHANNELS[kind], out_channels)
    return PreactivationResNet(in_channels, HIDDEN_CHANNELS[kind], 2, out_channels)


def keeps_first(kind: str, step: int) -> bool:
    """Return whether a step keeps the first half of the channels; in Glow, whose convolutions mix them, all do."""
    return kind == "glow" or step % 2 == 0


def ours(kind: str) -> Flow:
    """Build an image flow with this project's bijectors."""

    def scales(shape: Shape, n_left: int) -> list[Bijector]:
        squeeze = Squeeze(shape)
        squeezed = squeeze.event_shape_out
        half = squeezed[0] // 2
        first, second, mask = slice(half), slice(half, None), make_mask("channel", squeezed)
        layers: list[Bijector] = [squeeze]
        for step in range(N_STEPS[kind]):
            is_first = keeps_first(kind, step)
            net = OnHalf(network(kind, half, 2 * half), *((first, second) if is_first else (second, first)))
            mixing = [InvertibleConv(squeezed)] if kind == "glow" else []
            layers += [
                ActNorm(squeezed),
                *mixing,
                AffineCoupling(mask if is_first else 1 - mask, net, scale_activation="sigmoid"),
            ]
        if n_left == 1:
            return [*layers, Flatten(squeezed)]
        return [*layers, factor_out_half(squeezed, lambda rest: scales(rest, n_left - 1))]

    return on_logits(*scales(EVENT, 2))


def with_normflows(kind: str) -> Flow:
    """Build an image flow with normflows, as its example of Glow on images does."""
    import normflows as nf

    def step(channels: int, i: int) -> list[nn.Module]:
        if kind == "glow":
            return [nf.flows.GlowBlock(channels, HIDDEN_CHANNELS[kind], split_mode="channel")]
        mode = "channel" if keeps_first(kind, i) else "channel_inv"
        net = network(kind, channels // 2, channels)
        coupling = nf.flows.AffineCouplingBlock(net, scale_map="sigmoid", split_mode=mode)
        return [coupling, nf.flows.ActNorm((channels, 1, 1))]

    levels = [
        [*(flow for i in reversed(range(N_STEPS[kind])) for flow in step(channels, i)), nf.flows.Squeeze()]
        for channels in (8, 4)
    ]
    flow = nf.MultiscaleFlow([nn.Identity(), nn.Identity()], levels, [nf.flows.Merge()], class_cond=False)
    return on_logits(FromNormflows(flow, LATENTS))


def with_nflows(kind: str) -> Flow:
    """Build an image flow with nflows."""
    from nflows import transforms

    def level(channels: int) -> nn.Module:
        layers = [transforms.SqueezeTransform()]
        for step in range(N_STEPS[kind]):
            mask = ((torch.arange(channels) >= channels // 2) == keeps_first(kind, step)).int()
            mixing = [transforms.OneByOneConvolution(channels)] if kind == "glow" else []
            coupling = transforms.AffineCouplingTransform(mask, lambda n_in, n_out: network(kind, n_in, n_out))
            layers += [transforms.ActNorm(channels), *mixing, coupling]
        return transforms.CompositeTransform(layers)

    flow = transforms.MultiscaleCompositeTransform(2)
    flow.add_transform(level(4), (4, 14, 14))
    flow.add_transform(level(8), (8, 7, 7))
    return on_logits(FromNflows(flow))


def ours_flat(kind: str) -> Flow:
    """Build a flat flow with this project's bijectors."""
    shape = (torch.Size(EVENT).numel(),)
    even, odd, mask = slice(0, None, 2), slice(1, None, 2), make_mask("even_odd", shape)
    layers: list[Bijector] = [Flatten(EVENT)]
    for step in range(N_COUPLINGS):
        widths = (shape[0] // 2, *FEATURES, shape[0])
        linear = [nn.Linear(*pair) for pair in pairwise(widths)]
        net = nn.Sequential(linear[0], nn.ReLU(), linear[1], nn.ReLU(), linear[2])
        halves = (odd, even) if step % 2 else (even, odd)
        layers.append(
            AffineCoupling(1 - mask if step % 2 else mask, OnHalf(net, *halves), scale_activation="soft_clamp")
        )
    return on_logits(*layers)


def with_zuko(kind: str) -> Flow:
    """Build a flat flow with zuko."""
    import zuko

    dims = torch.Size(EVENT).numel()
    flow = zuko.flows.RealNVP(dims, transforms=N_COUPLINGS, hidden_features=FEATURES)
    return on_logits(Flatten(EVENT), FromZuko(flow))


IMAGE_FLOWS: dict[str, Builder] = {"nf_mnist": ours, "normflows": with_normflows, "nflows": with_nflows}
BUILDERS: dict[str, dict[str, Builder]] = {
    "glow": IMAGE_FLOWS,
    "realnvp": IMAGE_FLOWS,
    "flat": {"nf_mnist": ours_flat, "zuko": with_zuko},
    **FAMILIES,
}


def build(architecture: str, library: str) -> Flow:
    """Return a flow on images in (0, 1): a logit, the layers of a library, and a standard normal."""
    torch.manual_seed(0)
    return BUILDERS[architecture][library](architecture)


def conditioners(flow: Flow) -> list[nn.Module]:
    """Return the networks that predict scales and shifts; ``ConvNet2d`` and ``MADE`` are normflows', ``MLP`` zuko's."""
    names = ("ConvNet", "ConvNet2d", "PreactivationResNet", "OnHalf", "MLP", "MaskedMLP", "MADE", "VelocityMLP")
    found = [part for part in flow.modules() if type(part).__name__ in names]
    return [part for part in found if not any(part in inner.children() for inner in found)]
