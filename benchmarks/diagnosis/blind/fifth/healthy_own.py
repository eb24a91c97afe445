"""Healthy flows of parts of nf_mnist, and of unusual images."""

from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.diagnosis.blind.builders import DIMS, dense_flow, model, on_vectors
from benchmarks.diagnosis.blind.cases import Case, Shown, shown_plainly, shown_with_labels, training_and_validation
from benchmarks.diagnosis.blind.fifth.classes import classes
from benchmarks.diagnosis.blind.fifth.faulty_own import (
    NormalBase,
    based,
    blocks,
    fit_based,
    in_order,
    splines,
    wide,
)
from benchmarks.diagnosis.blind.fifth.faulty_procedures import counted, fit_counted
from benchmarks.diagnosis.blind.fifth.layers import train_soon
from benchmarks.diagnosis.blind.training import train
from nf_mnist.bijectors import ActNorm, InvertibleResidual, LogDetSeries, Logit, MarginalGaussianization, SplineMap
from nf_mnist.flows import Flow
from nf_mnist.nets.contractive import ContractiveNet


def inked(levels: Tensor) -> Tensor:
    """Return images of black ink on white paper."""
    return 255 - levels


def fit_inked(flow: nn.Module) -> None:
    """Train on such images."""
    train_soon(flow, levels=inked(training_and_validation()[0].levels))


def shown_inked() -> Shown:
    """Return such images, of validation and training alike."""
    shown = shown_plainly()
    return Shown(inked(shown.levels), inked(shown.train))


def sevens() -> tuple[Tensor, Tensor]:
    """Return the sevens of training and validation."""
    training, validation = (images.levels[images.labels == 7] for images in training_and_validation())
    return training, validation


def fit_sevens(flow: nn.Module) -> None:
    """Train on sevens only."""
    train_soon(flow, levels=sevens()[0])


def shown_sevens() -> Shown:
    """Return sevens only."""
    training, validation = sevens()
    return Shown(validation, training)


def fit_known(flow: nn.Module) -> None:
    """Train on images and their labels."""
    training, _ = training_and_validation()
    train(flow, 150, 3e-3, levels=training.levels, labels=training.labels)


def residual() -> Flow:
    """Build two residual blocks of vectors, whose log-determinants are estimated."""
    blocks_ = [InvertibleResidual(ContractiveNet((DIMS,), 64, (1, 1), 0.9), LogDetSeries(4, 12)) for _ in range(2)]
    return on_vectors(*blocks_, ActNorm((DIMS,)))


def positions(order: Tensor) -> Tensor:
    """Return the position of each element in an order."""
    return torch.argsort(order)


REAL_NVP = ("model=realnvp", "model.flow.n_scales=2", "model.flow.hidden_channels=4", "model.flow.n_blocks=1")
HEALTHY_OWN: dict[str, Case] = {
    "margin_kept": Case(partial(wide, Logit), partial(train, n_steps=300, lr=1e-2)),
    "splines_dense": Case(partial(splines, SplineMap), partial(train, n_steps=50, lr=5e-3)),
    "blocks_twelve": Case(partial(blocks, Flow), train_soon),
    "base_moments": Case(partial(based, NormalBase), fit_based),
    "order_drawn": Case(partial(in_order, positions), train_soon),
    "classes_known": Case(classes, fit_known, shown_with_labels),
    "counts_smoothed": Case(partial(counted, MarginalGaussianization), fit_counted),
    "residual_series": Case(residual, partial(train, n_steps=60, lr=3e-3)),
    "paper_white": Case(partial(dense_flow, 4), fit_inked, shown_inked),
    "sevens": Case(partial(dense_flow, 3), fit_sevens, shown_sevens),
    "model_new": Case(model(*REAL_NVP)),
}
