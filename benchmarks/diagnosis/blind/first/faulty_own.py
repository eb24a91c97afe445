"""Faulty flows of parts of nf_mnist: mistakes in layers, in training, in data and in loading of weights."""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.diagnosis.blind.builders import DIMS, HIDDEN, N_COUPLINGS, SHAPE, dense_flow
from benchmarks.diagnosis.blind.cases import Case, Shown, shown_plainly, shown_with_labels, training_and_validation
from benchmarks.diagnosis.blind.training import log_normal, train, train_briefly, train_longer
from nf_mnist.bijectors import (
    ActNorm,
    AffineCoupling,
    BatchNorm,
    FactorOut,
    Flatten,
    Logit,
    Sequential,
    Shape,
    Squeeze,
    make_mask,
)
from nf_mnist.flows import Flow, StandardNormal
from nf_mnist.nets import MLP, GlowConv


class TwoMeansBatchNorm(BatchNorm):
    """The inverse adds a mean that is averaged more slowly than that which forward subtracts."""

    slow_mean: Tensor

    def __init__(self, event_shape: Shape) -> None:
        super().__init__(event_shape, policy="running")
        self.register_buffer("slow_mean", torch.zeros_like(self.running_mean))

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        result = super().forward_and_log_det(x, context)
        if self.training:
            self.slow_mean.lerp_(self.running_mean, 0.01)
        return result

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x, log_det = super().inverse_and_log_det(z, context)
        return x - self.running_mean + self.slow_mean, log_det


class ForgetfulCoupling(AffineCoupling):
    """The inverse asks its networks for label 0, whatever the label is."""

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return super().inverse_and_log_det(z, None if context is None else torch.zeros_like(context))


class SwappedFactorOut(FactorOut):
    """The inverse joins the two halves of the channels in the wrong order."""

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x, log_det = super().inverse_and_log_det(z, context)
        kept, factored = x.split([self.n_kept, x.shape[1] - self.n_kept], 1)
        return torch.cat([factored, kept], 1), log_det


class LearnedNormal(nn.Module):
    """A learned diagonal normal.

    Args:
        counts_log_std: Whether log p has its ``-log(std)``, as it must.
    """

    def __init__(self, counts_log_std: bool = True) -> None:
        super().__init__()
        self.counts_log_std = counts_log_std
        self.mean, self.log_std = nn.Parameter(torch.zeros(DIMS)), nn.Parameter(torch.zeros(DIMS))

    def log_prob(self, z: Tensor) -> Tensor:
        log_p = log_normal((z - self.mean) * (-self.log_std).exp())
        return log_p - self.log_std.sum() if self.counts_log_std else log_p

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        return self.mean + self.log_std.exp() * torch.randn(n, DIMS, generator=generator)


class UniformDraws(StandardNormal):
    """Samples come from ``torch.rand`` instead of ``torch.randn``."""

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        return torch.rand(n, self.dims, generator=generator)


def two_scales() -> Flow:
    """Build a flow of two scales, whose split has its halves swapped in the inverse."""
    squeeze = Squeeze(SHAPE)
    shape = squeeze.event_shape_out
    half = (shape[0] // 2, *shape[1:])
    n_half = math.prod(half)
    rest = [
        Flatten(half),
        ActNorm((n_half,)),
        AffineCoupling(make_mask("halves", (n_half,)), MLP(n_half, 64, 1), MLP(n_half, 64, 1)),
    ]
    coupling = AffineCoupling(make_mask("channel", shape), GlowConv(shape[0], 16, 2 * shape[0]))
    layers = [Logit(), squeeze, ActNorm(shape), coupling, SwappedFactorOut(shape, half[0], Sequential(rest))]
    return Flow(Sequential(layers), SHAPE)


def shared_nets() -> Callable[[int], tuple[nn.Module, nn.Module]]:
    """Return a function that gives every coupling the same two networks."""
    pair = MLP(DIMS, HIDDEN, 1), MLP(DIMS, HIDDEN, 1)
    return lambda i: pair


def fit_on_prior_only(flow: nn.Module) -> None:
    """Maximise log p(z) alone: the log-determinant was left out of the loss."""
    train(flow, 300, objective=lambda flow, x, labels: flow.base.log_prob(flow.bijector(x)[0]))


def fit_with_shuffled_labels(flow: nn.Module) -> None:
    """Train on images that were shuffled without their labels."""
    training, _ = training_and_validation()
    train(flow, 150, levels=training.levels, labels=training.labels[torch.randperm(len(training.labels))])


def fit_on_negatives(flow: nn.Module) -> None:
    """Train on dark digits on a white ground."""
    train(flow, levels=255 - training_and_validation()[0].levels)


def fit_elsewhere(flow: nn.Module) -> None:
    """Train the same layers behind a logit with a margin of 0.05, and load the weights."""
    twin = dense_flow(alpha=0.05)
    train_briefly(twin)
    flow.load_state_dict(twin.state_dict())


class SortedLayers(Flow):
    """Loads its layers in the order of their names as text: 10, 11, 12, 13, 2, 3."""

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        names = [str(i) for i in range(2, 2 + 2 * N_COUPLINGS)]
        moved = dict(zip(sorted(names), names, strict=True))
        renamed = {}
        for key, value in state_dict.items():
            first, second, index, *rest = key.split(".")
            renamed[".".join([first, second, moved.get(index, index), *rest])] = value
        return super().load_state_dict(renamed, strict, assign)


N_FEW = 400


def fit_on_shifted_validation(flow: nn.Module) -> None:
    """Train on validation images shifted by a pixel: the set was enlarged before it was split."""
    train(flow, 250, levels=shown_after_enlarging().train)


def shown_after_enlarging() -> Shown:
    """Return some images, and copies of them, shifted by a pixel in each direction, as training images."""
    levels = training_and_validation()[1].levels[:N_FEW]
    shifts = [(-1, 0), (1, 0), (0, -1), (0, 1)]
    return Shown(levels, torch.cat([levels.roll(shift, (2, 3)) for shift in shifts]))


def shown_with_header() -> Shown:
    """Return validation images read from the start of their file: its header of 16 bytes is taken for pixels."""
    plain = shown_plainly()
    header = torch.tensor([0, 0, 8, 3, 0, 0, 39, 16, 0, 0, 0, 28, 0, 0, 0, 28], dtype=torch.uint8)
    content = torch.cat([header, plain.levels.flatten()])[: plain.levels.numel()]
    return plain._replace(levels=content.reshape(plain.levels.shape))


def shown_normalised_twice() -> Shown:
    """Return validation images on which ``x / 2 + 1 / 2``, from [-1, 1] to [0, 1], was done once too often."""
    plain = shown_plainly()
    return plain._replace(levels=(plain.levels.float() / 2 + 127.5).round().to(torch.uint8))


EVEN = make_mask("even_odd", (DIMS,))
FAULTY_OWN: dict[str, Case] = {
    "bn_two_means": Case(partial(dense_flow, norm=TwoMeansBatchNorm), train_briefly),
    "loss_without_log_det": Case(dense_flow, fit_on_prior_only),
    "one_mask": Case(partial(dense_flow, masks=[EVEN] * N_COUPLINGS), train_briefly),
    "labels_shuffled_in_training": Case(partial(dense_flow, n_classes=10), fit_with_shuffled_labels, shown_with_labels),
    "inverse_forgets_labels": Case(
        partial(dense_flow, n_classes=10, coupling=ForgetfulCoupling), None, shown_with_labels, "own_labels"
    ),
    "trained_on_negatives": Case(dense_flow, fit_on_negatives, shown_plainly),
    "header_read_as_pixels": Case(dense_flow, None, shown_with_header, "own_dense"),
    "normalised_twice": Case(dense_flow, None, shown_normalised_twice, "own_dense"),
    "enlarged_before_the_split": Case(dense_flow, fit_on_shifted_validation, shown_after_enlarging),
    "networks_shared_by_accident": Case(lambda: dense_flow(nets=shared_nets()), train_briefly),
    "other_logit_margin": Case(dense_flow, fit_elsewhere),
    "layers_loaded_in_order_of_text": Case(lambda: SortedLayers(dense_flow().bijector, SHAPE), weights="own_dense"),
    "learned_base_without_log_std": Case(lambda: dense_flow(base=LearnedNormal(counts_log_std=False)), train),
    "samples_from_rand": Case(lambda: dense_flow(base=UniformDraws(DIMS)), weights="own_dense"),
    "scales_swapped_in_inverse": Case(two_scales, train_longer),
}
