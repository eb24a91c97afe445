"""One small example of every bijector and every model: each property is stated once and holds for every entry.

A new bijector or model is one new line here. Parameters are moved away from their initial values, so that no property
holds only because a map is still the identity.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.diagnosis.small_flows import GREY, HALF, IMAGE, gaussianization, small_conditional, small_hierarchical
from nf_mnist.bijectors import (
    ActNorm,
    AdditiveCoupling,
    AffineCoupling,
    AffineMap,
    BatchNorm,
    Bijector,
    ContinuousMap,
    DiscretizedMixture,
    ElementMap,
    FactorOut,
    Flatten,
    GivenLabel,
    GroupedMixture,
    Inverse,
    InvertibleConv,
    InvertibleResidual,
    LearnedTanh,
    LogDetSeries,
    LogisticToNormal,
    Logit,
    MaskedAutoregression,
    OdeSolver,
    PatchAutoregression,
    Patches,
    Permutation,
    PixelGrid,
    Rescale,
    Scaling,
    Sequential,
    Shape,
    SplineCoupling,
    SplineMap,
    Squeeze,
    make_mask,
    n_parameters,
    random_order,
)
from nf_mnist.bijectors.level_prior import LevelPrior, LevelTables
from nf_mnist.bijectors.palettes import PalettePrior
from nf_mnist.bijectors.placed_prior import ChannelPrior, GroupedPrior
from nf_mnist.flows import (
    Flow,
    FlowMatching,
    RegularizedFlow,
    cp3,
    glow,
    jet,
    maf,
    nice,
    normalization,
    preprocessing,
    realnvp,
    resflow,
    residual_flow,
    spline,
    tarflow,
    uva,
)
from nf_mnist.flows.geometry import CHANNEL_ORDER, nearest_neighbours, pixel_groups
from nf_mnist.nets import (
    CausalTransformer,
    ContextResNet,
    ContractiveNet,
    GroupedTransformer,
    GuidedTransformer,
    MaskedMLP,
    ResidualNet,
    VisionTransformer,
)
from tests.support.velocities import SmallVelocity

FLAT = (12,)
PATCHES = (4, 3)  # four patches of three values


def net(shape: Shape, multiple: int = 1) -> nn.Module:
    """Return a small network from events to events with ``multiple`` times as many channels."""
    dims, out = torch.Size(shape).numel(), (multiple * shape[0], *shape[1:])
    last = nn.Linear(8, multiple * dims)
    return nn.Sequential(nn.Flatten(), nn.Linear(dims, 8), nn.Tanh(), last, nn.Unflatten(1, out))


def coupling(shape: Shape, mask: str, scale_activation: str = "tanh") -> AffineCoupling:
    return AffineCoupling(make_mask(mask, shape), net(shape), net(shape), scale_activation)


def coupling_of_one_net(shape: Shape, mask: str) -> AffineCoupling:
    return AffineCoupling(make_mask(mask, shape), net(shape, 2), scale_activation=LearnedTanh(shape[0]))


def additive_coupling(shape: Shape, mask: str) -> AdditiveCoupling:
    return AdditiveCoupling(make_mask(mask, shape), net(shape))


def spline_coupling(shape: Shape, mask: str, n_bins: int, bound: float) -> SplineCoupling:
    return SplineCoupling(make_mask(mask, shape), net(shape, 3 * n_bins - 1), n_bins, bound)


def residual_coupling(shape: Shape) -> AffineCoupling:
    nets = (ResidualNet(shape, 4, 4) for _ in range(2))
    return AffineCoupling(make_mask("checkerboard", shape), *nets, "tanh")


def mixture_coupling(n_kept: int, prior: LevelPrior | None = None) -> DiscretizedMixture:
    neighbours = nearest_neighbours(n_kept, 4)
    net = ContextResNet(2 * n_kept, 8, 2, n_parameters(3, len(neighbours) + 1) + (prior is not None))
    grid = PixelGrid.whole().squeezed().select(CHANNEL_ORDER)
    placed = ChannelPrior(prior, grid, n_kept) if prior else None
    return DiscretizedMixture(IMAGE, n_kept, net, neighbours, n_frequent=1, prior=placed)


def level_prior() -> LevelPrior:
    """Return a prior of images of 8x8: four states, a grid of 6x6 cells of two kinds."""
    generator = torch.Generator().manual_seed(6)
    log_ratio = torch.randint(-20, 12, (8, 255), generator=generator)
    kinds = torch.arange(6) % 2
    table_of = 2 * torch.arange(4)[:, None, None] + (kinds[:, None] ^ kinds)
    log_state = torch.tensor([-4, -12, -8, -20])
    log_window = torch.randint(-20, 0, (3, 8, 9, 3), generator=generator)
    return LevelPrior(LevelTables(log_ratio, table_of, log_state, log_window))


def palette_prior() -> PalettePrior:
    """Return a prior of images of 8x8: four palettes, fitted to random images."""
    prior = PalettePrior(4, (8, 8))
    prior.fit(torch.randint(256, (50, 1, 8, 8), generator=torch.Generator().manual_seed(6)).to(torch.uint8))
    return prior


def grouped_mixture_with_prior() -> GroupedMixture:
    groups, grid = pixel_groups(4, 4, 5), PixelGrid.whole().squeezed().select([0])
    net = GroupedTransformer(groups, 2, 16, 2, 2, n_parameters(3) + 1)
    return GroupedMixture(groups, net, prior=GroupedPrior(level_prior(), grid, groups))


def grouped_mixture() -> GroupedMixture:
    groups = pixel_groups(6, 6, 5)
    return GroupedMixture(groups, GroupedTransformer(groups, 2, 16, 2, 2, n_parameters(3)))


def masked_autoregression(element_map: ElementMap) -> MaskedAutoregression:
    order = random_order(FLAT[0], seed=2)
    return MaskedAutoregression(order, MaskedMLP(order.argsort(), 40, element_map.n_parameters), element_map)


def invertible_residual(shape: Shape, series: LogDetSeries | None = None) -> InvertibleResidual:
    net = ContractiveNet(shape, 8, (3, 1, 3) if len(shape) > 1 else (1, 1, 1), coefficient=0.9)
    with torch.no_grad():
        for conv in net.convs:
            conv.weight *= 10  # well beyond the largest norm, so that each layer is as steep as it may be
    return InvertibleResidual(net, series)


def patch_autoregression(is_reversed: bool) -> PatchAutoregression:
    return PatchAutoregression(CausalTransformer(*PATCHES, 8, 2, 2, 2 * PATCHES[1]), is_reversed)


def guided_autoregression() -> PatchAutoregression:
    net = CausalTransformer(*PATCHES, 8, 1, 2, 2 * PATCHES[1])
    return PatchAutoregression(GuidedTransformer(net, weight=0.7, attention_temperature=1.5))


def patch_coupling() -> AffineCoupling:
    mask = make_mask("halves", PATCHES[1:]).expand(PATCHES).clone()
    return AffineCoupling(mask, VisionTransformer(*PATCHES, 8, 2, 2, 2), scale_activation="twice_sigmoid")


BIJECTORS: dict[str, tuple[Callable[[], Bijector], Shape]] = {
    **{f"coupling_{mask}": (lambda mask=mask: coupling(IMAGE, mask), IMAGE) for mask in ("checkerboard", "stripes")},
    **{f"coupling_{scale}": (lambda scale=scale: coupling(IMAGE, "channel", scale), IMAGE)
       for scale in ("tanh", "soft_clamp", "sigmoid", "twice_sigmoid", "none", "double_tanh")},
    **{f"coupling_{mask}": (lambda mask=mask: coupling(FLAT, mask), FLAT) for mask in ("even_odd", "halves")},
    "coupling_residual": (lambda: residual_coupling(GREY), GREY),
    "coupling_of_one_net": (lambda: coupling_of_one_net(IMAGE, "checkerboard"), IMAGE),
    "additive_coupling": (lambda: additive_coupling(FLAT, "even_odd"), FLAT),
    "spline_coupling": (lambda: spline_coupling(IMAGE, "channel", n_bins=4, bound=3.0), IMAGE),
    "spline_coupling_with_tails": (lambda: spline_coupling(FLAT, "even_odd", n_bins=3, bound=0.5), FLAT),
    "invertible_conv": (lambda: InvertibleConv(IMAGE), IMAGE),
    "scaling": (lambda: Scaling(FLAT), FLAT),
    "logistic_to_normal": (LogisticToNormal, FLAT),
    "logit": (lambda: Logit(1e-5), GREY),
    "batchnorm_image": (lambda: BatchNorm(IMAGE), IMAGE),
    "batchnorm_flat": (lambda: BatchNorm(FLAT, policy="running"), FLAT),
    "actnorm_image": (lambda: ActNorm(IMAGE), IMAGE),
    "actnorm_flat": (lambda: ActNorm(FLAT), FLAT),
    "gaussianization": (lambda: gaussianization(GREY), GREY),
    "discretized_mixture_1": (lambda: mixture_coupling(1), IMAGE),
    "discretized_mixture_3": (lambda: mixture_coupling(3), IMAGE),
    "discretized_mixture_with_prior": (lambda: mixture_coupling(2, level_prior()), IMAGE),
    "discretized_mixture_with_palettes": (lambda: mixture_coupling(1, palette_prior()), IMAGE),
    "grouped_mixture": (grouped_mixture, (1, 6, 6)),
    "grouped_mixture_with_prior": (grouped_mixture_with_prior, (1, 4, 4)),
    "patches": (lambda: Patches(IMAGE, 2), IMAGE),
    "patch_coupling": (patch_coupling, PATCHES),
    "patch_autoregression": (lambda: patch_autoregression(is_reversed=False), PATCHES),
    "patch_autoregression_reversed": (lambda: patch_autoregression(is_reversed=True), PATCHES),
    "patch_autoregression_guided": (guided_autoregression, PATCHES),
    "masked_autoregression": (lambda: masked_autoregression(AffineMap("soft_clamp")), FLAT),
    "masked_autoregression_splines": (lambda: masked_autoregression(SplineMap(4, 3.0)), FLAT),
    "given_label": (lambda: GivenLabel(small_nice(3).bijector, 2), GREY),
    "inverse_autoregression": (lambda: Inverse(masked_autoregression(AffineMap("tanh"))), FLAT),
    "continuous_map": (lambda: ContinuousMap(SmallVelocity(FLAT), OdeSolver(n_steps=4)), FLAT),
    "invertible_residual": (lambda: invertible_residual(IMAGE), IMAGE),
    "invertible_residual_flat": (lambda: invertible_residual(FLAT), FLAT),
    "rescale": (lambda: Rescale(2.0, -1.0), GREY),
    "permutation": (lambda: Permutation(random_order(12, seed=1)), FLAT),
    "flatten": (lambda: Flatten(IMAGE), IMAGE),
    "squeeze": (lambda: Squeeze(IMAGE), IMAGE),
    "factor_out": (lambda: FactorOut(IMAGE, 2, Sequential([coupling(HALF, "checkerboard"), Flatten(HALF)])), IMAGE),
    "sequential": (lambda: Sequential([Logit(), Squeeze(GREY), coupling(IMAGE, "channel"), ActNorm(IMAGE)]), GREY),
    "empty": (lambda: Sequential([]), GREY),
}  # fmt: skip


def small_resflow(
    scale_activation: str = "tanh", norm: str = "none", preprocess: str = "logit", mask: str = "checkerboard"
) -> Flow:
    return resflow(
        event_shape=GREY,
        preprocess=preprocessing(preprocess, 1e-5, True),
        norm=normalization(norm, 0.1, "batch", 1e-5),
        n_scales=3,
        hidden_channels=4,
        mlp_features=4,
        mask=mask,
        scale_activation=scale_activation,
    )


def small_cp3(norm: str = "batchnorm") -> Flow:
    return cp3(
        event_shape=(1, 13, 13),  # the smallest image that its convolutions take
        preprocess=preprocessing("logit", 1e-5, True),
        norm=normalization(norm, 0.9, "batch", 1e-5),
        n_couplings=4,
        hidden_channels=128,
        mlp_features=32,
        scale_activation="tanh",
        permutation_seed=0,
    )


def small_nice(n_classes: int = 0) -> Flow:
    return nice(**parts(preprocess="none"), n_couplings=4, hidden_features=8, n_hidden=2, n_classes=n_classes)


def parts(norm: str = "none", preprocess: str = "logit") -> dict[str, Any]:
    """Return the arguments that every image model takes, for images of 8x8."""
    return {
        "event_shape": GREY,
        "preprocess": preprocessing(preprocess, 1e-5, True),
        "norm": normalization(norm, 0.1, "running", 1e-5),
    }


def small_glow(n_classes: int = 0, **which: str) -> Flow:
    sizes = {"n_scales": 2, "n_steps": 2, "hidden_channels": 4}
    return glow(**parts(**which), **sizes, scale_activation="sigmoid", n_classes=n_classes)


def small_maf(**settings: Any) -> Flow:
    which = {"transform": "affine", "predicted_from": "data", "n_classes": 0, **settings}
    sizes = {"n_layers": 2, "hidden_features": 80, "scale_activation": "soft_clamp", "n_bins": 4, "bound": 3.0}
    return maf(**parts(norm="actnorm"), **sizes, **which)


def small_residual_flow(**settings: Any) -> Flow:
    sizes = {"n_scales": 2, "n_blocks": 1, "hidden_channels": 4, "n_dense_blocks": 1, "dense_features": 4}
    series = {"log_det": "exact", "n_terms": 2, "n_evaluation_terms": 20}
    return residual_flow(**parts(norm="actnorm"), **{**sizes, "coefficient": 0.9, **series, **settings})


def small_realnvp(n_classes: int = 0, **which: str) -> Flow:
    return realnvp(**parts(**which), n_scales=2, hidden_channels=4, n_blocks=1, n_classes=n_classes)


def small_spline(n_classes: int = 0, **which: str) -> Flow:
    sizes = {"n_scales": 2, "n_steps": 2, "hidden_channels": 4, "n_blocks": 1, "n_bins": 4, "bound": 3.0}
    return spline(**parts(**which), **sizes, n_classes=n_classes)


def small_uva(*n_couplings_at: int, n_classes: int = 0) -> Flow:
    widths = [4] * len(n_couplings_at)
    return uva(**parts(), n_couplings_at=n_couplings_at, hidden_channels_at=widths, n_classes=n_classes)


def small_tarflow(n_classes: int = 0, preprocess: str = "symmetric", label_dropout: float = 0.1) -> Flow:
    return tarflow(
        event_shape=GREY,
        preprocess=preprocessing(preprocess, 1e-5, True),
        patch_size=2,
        n_autoregressions=2,
        transformer_features=8,
        transformer_blocks=2,
        transformer_heads=2,
        n_classes=n_classes,
        label_dropout=label_dropout,
    )


def small_flow_matching(n_classes: int = 0) -> Flow:
    event_shape, solver = (1, 4, 4), OdeSolver(n_steps=4)
    preprocess = preprocessing("symmetric", 0.0, True)(event_shape)
    return FlowMatching(preprocess, SmallVelocity(event_shape), solver, solver, event_shape, n_classes, 0.1)


def small_ffjord(n_classes: int = 0) -> Flow:
    event_shape, solver = (1, 4, 4), OdeSolver(n_steps=4)
    preprocess = preprocessing("symmetric", 0.0, True)(event_shape)
    velocity = SmallVelocity(event_shape)
    return RegularizedFlow(preprocess, velocity, solver, solver, solver, event_shape, n_classes, 0.01, 0.01)


def small_jet(n_classes: int = 0, **which: Any) -> Flow:
    settings = {"event_shape": GREY, "patch_size": 2, "n_couplings": 6, "splits": ["channel", "channel", "spatial"]}
    sizes = {"transformer_features": 8, "transformer_blocks": 2, "transformer_heads": 2}
    scale = {"preprocess": preprocessing("logit", 1e-5, True), "scale_activation": "twice_sigmoid"}
    return jet(**{**settings, **sizes, **scale, "n_classes": n_classes, **which})


FLOWS: dict[str, Callable[[], Flow]] = {
    "resflow": small_resflow,
    "resflow_stripes": lambda: small_resflow(mask="stripes"),
    "resflow_double_tanh": lambda: small_resflow(scale_activation="double_tanh"),
    "resflow_batchnorm": lambda: small_resflow(norm="batchnorm"),
    "resflow_actnorm": lambda: small_resflow(norm="actnorm"),
    "resflow_soft_clamp": lambda: small_resflow(scale_activation="soft_clamp"),
    "resflow_no_preprocess": lambda: small_resflow(preprocess="none"),
    "resflow_gaussianize": lambda: small_resflow(preprocess="gaussianize"),
    "cp3": small_cp3,
    "cp3_actnorm": lambda: small_cp3("actnorm"),
    "nice": small_nice,
    "maf": small_maf,
    "maf_spline": lambda: small_maf(transform="spline"),
    "iaf": lambda: small_maf(predicted_from="latent"),
    "realnvp": lambda: small_realnvp(norm="batchnorm"),
    "residual_flow": small_residual_flow,
    "glow": lambda: small_glow(norm="actnorm"),
    "spline": lambda: small_spline(norm="actnorm"),
    "tarflow": small_tarflow,
    "flow_matching": small_flow_matching,
    "ffjord": small_ffjord,
    "jet": small_jet,
    "uva_simple": lambda: small_uva(4),
    "uva_multiscale": lambda: small_uva(1, 2, 2),
    "hierarchical": small_hierarchical,
    "conditional": small_conditional,
}


def unsettle(module: nn.Module) -> nn.Module:
    """Move parameters and statistics to values that a trained model could have."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in [*module.named_parameters(), *module.named_buffers()]:
            if value.is_floating_point() and not name.endswith(("mask", "probabilities")) and "prior." not in name:
                noise = torch.randn(value.shape, generator=generator, dtype=torch.float64).to(value)
                if name.endswith("running_var"):
                    value.mul_((0.3 * noise).exp())
                else:
                    value.add_(0.1 * noise)
    return module


def make_bijector(name: str, dtype: torch.dtype = torch.float64) -> Bijector:
    build, _ = BIJECTORS[name]
    return unsettle(build()).to(dtype).eval()


def make_flow(name: str, dtype: torch.dtype = torch.float64) -> Flow:
    return unsettle(FLOWS[name]()).to(dtype).eval()


def events(shape: Shape, n: int = 5, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return n events with elements well inside the unit interval, in the domain of every entry."""
    generator = torch.Generator().manual_seed(2)
    return (0.01 + 0.98 * torch.rand(n, *shape, generator=generator, dtype=torch.float64)).to(dtype)
