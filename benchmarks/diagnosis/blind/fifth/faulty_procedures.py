"""Faulty flows whose code is right: what they were trained on, or how, is not; or what is shown."""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.diagnosis.blind.builders import DIMS, HIDDEN, SHAPE, on_vectors
from benchmarks.diagnosis.blind.cases import Case, Shown, shown_plainly, shown_with_labels, training_and_validation
from benchmarks.diagnosis.blind.fifth.classes import classes
from benchmarks.diagnosis.blind.fifth.healthy_libraries import nflows_shared, normflows_lined, zuko_sums
from benchmarks.diagnosis.blind.fifth.layers import train_soon
from benchmarks.diagnosis.blind.training import BATCH_SIZE, log_likelihood, train
from nf_mnist.bijectors import AffineCoupling, Flatten, MarginalGaussianization, Sequential, make_mask
from nf_mnist.flows import Flow
from nf_mnist.nets import MLP

N_HEADER = 8
KEPT = make_mask("even_odd", (DIMS,))


class Counts(MarginalGaussianization):
    """Shares of the levels as they were counted."""

    @torch.no_grad()
    def fit(self, levels: Tensor) -> None:
        pixels = levels.flatten(1).T
        counts = torch.stack([torch.bincount(pixel, minlength=256) for pixel in pixels])
        self.probabilities.copy_(counts / len(levels))


def counted(counts: type[MarginalGaussianization]) -> Flow:
    """Build couplings after a map of each pixel by counts of its levels."""
    couplings = [AffineCoupling(mask, MLP(DIMS, HIDDEN, 1), MLP(DIMS, HIDDEN, 1)) for mask in (KEPT, 1 - KEPT)]
    return Flow(Sequential([counts(SHAPE), Flatten(SHAPE), *couplings]), SHAPE)


def fit_counted(flow: Any) -> None:
    """Count the levels of the training images, and train."""
    flow.bijector.fit(training_and_validation()[0].levels)
    train_soon(flow)


def paired() -> Flow:
    """Build two couplings."""
    couplings = [AffineCoupling(mask, MLP(DIMS, HIDDEN, 1), MLP(DIMS, HIDDEN, 1)) for mask in (KEPT, 1 - KEPT)]
    return on_vectors(*couplings)


def fit_undithered(flow: nn.Module, n_steps: int = 300) -> None:
    """Train on grey levels as they are, without noise."""
    optimizer = torch.optim.Adam(flow.parameters(), 1e-2)
    levels = training_and_validation()[0].levels
    flow.train()
    for _ in range(n_steps):
        x = levels[torch.randint(len(levels), (BATCH_SIZE,))] / 255
        optimizer.zero_grad()
        (-log_likelihood(flow, x, None).mean()).backward()
        nn.utils.clip_grad_norm_(flow.parameters(), 500.0)
        optimizer.step()
    flow.eval()


def fit_other_labels(flow: nn.Module) -> None:
    """Train with labels that were not shuffled together with the images."""
    images, _ = training_and_validation()
    train(flow, 150, 3e-3, levels=images.levels, labels=images.labels[torch.randperm(len(images.labels))])


def fit_other_way(flow: Any) -> None:
    """Train normflows' layers as if their forward ran from data to latent, as in most other libraries."""
    first, layers = flow.bijector.layers()[:3], flow.bijector.layers()[3]

    def objective(_: Any, x: Tensor, labels: Tensor | None) -> Tensor:
        total = x.new_zeros(len(x))
        for layer in first:
            x, log_det = layer(x)
            total = total + log_det
        z, log_det = layers.flow.forward_and_log_det(x)
        return flow.base.log_prob(z) + total + log_det

    train(flow, 120, 3e-3, objective=objective)


def fit_too_fast(flow: nn.Module, n_steps: int = 30) -> None:
    """Train with a learning rate that is far too high and gradients of any size."""
    optimizer = torch.optim.SGD(flow.parameters(), 1e-2, momentum=0.9)
    levels = training_and_validation()[0].levels
    flow.train()
    for _ in range(n_steps):
        index = torch.randint(len(levels), (BATCH_SIZE,))
        x = (levels[index] + torch.rand(BATCH_SIZE, 1, 28, 28)) / 256
        optimizer.zero_grad()
        (-log_likelihood(flow, x, None).mean()).backward()
        optimizer.step()
    flow.eval()


def shown_from_training() -> Shown:
    """Return the first training images in place of validation images: the split was never made."""
    shown = shown_plainly()
    return shown._replace(levels=shown.train[: len(shown.levels)].clone())


def shown_partly() -> Shown:
    """Return validation images in an array of zeros that was not filled to its end."""
    shown = shown_plainly()
    levels = shown.levels.clone()
    levels[torch.arange(len(levels)) % 5 == 4] = 0  # the images were shuffled afterwards
    return shown._replace(levels=levels)


def shown_from_header() -> Shown:
    """Return validation images read from a file of IDX with 8 bytes of its header of 16 taken for pixels."""
    shown = shown_plainly()
    values = torch.cat([torch.zeros(N_HEADER, dtype=torch.uint8), shown.levels.flatten()])
    return shown._replace(levels=values[: shown.levels.numel()].reshape(shown.levels.shape))


FAULTY_PROCEDURES: dict[str, Case] = {
    "dense_levels": Case(paired, fit_undithered),
    "classes_file": Case(classes, fit_other_labels, shown_with_labels),
    "counts_all": Case(partial(counted, Counts), fit_counted),
    "normflows_other": Case(normflows_lined, fit_other_way),
    "normflows_fast": Case(normflows_lined, fit_too_fast),
    "normflows_bytes": Case(normflows_lined, shown=shown_from_header, weights="normflows_lined"),
    "nflows_split": Case(nflows_shared, shown=shown_from_training, weights="nflows_shared"),
    "zuko_array": Case(zuko_sums, shown=shown_partly, weights="zuko_sums"),
}
