"""Faulty flows whose code is right: their training, or the images that they are shown, is wrong."""

import copy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.diagnosis.blind.builders import DIMS, dense_flow
from benchmarks.diagnosis.blind.cases import Case, Shown, shown_plainly, training_and_validation
from benchmarks.diagnosis.blind.third.faulty_freia_zuko import zuko_nice
from benchmarks.diagnosis.blind.third.faulty_libraries import nflows_couplings, normflows_model
from benchmarks.diagnosis.blind.third.faulty_torch import couplings
from benchmarks.diagnosis.blind.third.layers import on_vectors, train_quickly
from benchmarks.diagnosis.blind.training import log_likelihood, log_normal, train
from nf_mnist.bijectors import make_mask


def prior_only(flow: Any, x: Tensor, labels: Tensor | None) -> Tensor:
    """Return the log-density of the latent, without the log-determinant."""
    return log_normal(flow.encode(x))


def of_isolated_levels(flow: Any, x: Tensor, labels: Tensor | None) -> Tensor:
    """Return the log-density of images of 256 exact levels, whose noise is taken away."""
    return log_likelihood(flow, (x * 256).floor() / 255, labels)


def of_five_bits(flow: Any, x: Tensor, labels: Tensor | None) -> Tensor:
    """Return the log-density of images of 32 dithered levels.

    https://github.com/rosinality/glow-pytorch/issues/17: the default of some code is 5 bits, also for 8-bit images.
    """
    return log_likelihood(flow, ((x * 32).floor() + torch.rand_like(x)) / 32, labels)


def fit_average(flow: nn.Module, decay: float, n_steps: int = 200, lr: float = 2e-3) -> None:
    """Train, and keep an exponential moving average of the parameters, from the first ones on."""
    average = copy.deepcopy(flow)

    def objective(trained: Any, x: Tensor, labels: Tensor | None) -> Tensor:
        with torch.no_grad():
            for mean, now in zip(average.parameters(), trained.parameters(), strict=True):
                mean.lerp_(now, 1 - decay)
        return log_likelihood(trained, x, labels)

    train(flow, n_steps, lr, objective=objective)
    with torch.no_grad():
        for parameter, mean in zip(flow.parameters(), average.parameters(), strict=True):
            parameter.copy_(mean)


def fit_norms(flow: nn.Module) -> None:
    """Train all but the networks, as after they were frozen for an experiment."""
    trained = [parameter for name, parameter in flow.named_parameters() if "transform_net" not in name]
    train_quickly(flow, parameters=trained)


def other_masks(n: int = 6) -> list[Tensor]:
    """Return the masks of ``dense_flow`` in the other order."""
    kept = make_mask("even_odd", (DIMS,))
    return [1 - kept if i % 2 else kept for i in range(n)]


def inverted(levels: Tensor) -> Tensor:
    """Return dark ink on a light page."""
    return 255 - levels


def blurred(levels: Tensor) -> Tensor:
    """Return images that were made small and large again, as by a thumbnail."""
    small = F.interpolate(levels.float(), size=(16, 16), mode="bilinear", antialias=True)
    return F.interpolate(small, size=(28, 28), mode="bilinear").round().clamp(0, 255).to(torch.uint8)


def fit_inverted(flow: nn.Module) -> None:
    """Train on inverted images."""
    train_quickly(flow, levels=inverted(training_and_validation()[0].levels))


def shown_without_inversion() -> Shown:
    """Return validation images as they are, beside the inverted ones of the training."""
    shown = shown_plainly()
    return shown._replace(train=inverted(shown.train))


def shown_transposed() -> Shown:
    """Return validation images with rows and columns exchanged, as EMNIST's files have them."""
    shown = shown_plainly()
    return shown._replace(levels=shown.levels.transpose(2, 3).contiguous())


def shown_blurred() -> Shown:
    """Return blurred validation images."""
    shown = shown_plainly()
    return shown._replace(levels=blurred(shown.levels))


FAULTY_TRAINING: dict[str, Case] = {
    "normflows_prior": Case(normflows_model, partial(train_quickly, objective=prior_only)),
    "standardised_levels": Case(couplings, partial(train_quickly, objective=of_isolated_levels)),
    "nflows_norms": Case(nflows_couplings, fit_norms),
    "standardised_bits": Case(couplings, partial(train_quickly, objective=of_five_bits)),
    "standardised_page": Case(couplings, fit_inverted, shown_without_inversion),
    "dense_average": Case(dense_flow, partial(fit_average, decay=0.999)),
    "dense_fast": Case(dense_flow, partial(train_quickly, lr=0.3)),
    "dense_odd": Case(lambda: dense_flow(masks=other_masks()), weights="dense_even"),
    "dense_rows": Case(dense_flow, shown=shown_transposed, weights="dense_even"),
    "zuko_thumbnails": Case(lambda: on_vectors(zuko_nice()), shown=shown_blurred, weights="zuko_three"),
}
