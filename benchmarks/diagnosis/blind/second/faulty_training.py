"""Faulty flows of sound layers: mistakes in training, in loading of weights and in the base distribution."""

import math
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.diagnosis.blind.builders import DIMS, dense_flow
from benchmarks.diagnosis.blind.cases import Case, Shown, shown_plainly, shown_with_labels, training_and_validation
from benchmarks.diagnosis.blind.plain import Affine, Coupling, PlainFlow
from benchmarks.diagnosis.blind.second.vector_layers import FirstBatchNorm
from benchmarks.diagnosis.blind.training import log_likelihood, train, train_briefly, train_longer

EMA_DECAY = 0.9999
MNIST_MEAN, MNIST_STD = 0.1307, 0.3081


class FactorisedMixture(nn.Module):
    """A mixture of three normals in each dimension.

    Args:
        normalises: Whether the weights of a mixture add up to 1, as they must.
    """

    n_components = 3

    def __init__(self, normalises: bool = True) -> None:
        super().__init__()
        self.normalises = normalises
        self.mean = nn.Parameter(torch.linspace(-1, 1, self.n_components).repeat(DIMS, 1))
        self.log_weight = nn.Parameter(torch.zeros(DIMS, self.n_components))
        self.log_std = nn.Parameter(torch.zeros(DIMS, self.n_components))

    def log_prob(self, z: Tensor) -> Tensor:
        log_weight = self.log_weight.log_softmax(1) if self.normalises else self.log_weight
        distance = (z[..., None] - self.mean) * (-self.log_std).exp()
        log_p = -0.5 * (distance.square() + math.log(2 * math.pi)) - self.log_std
        return (log_weight + log_p).logsumexp(2).sum(1)

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        chosen = torch.multinomial(self.log_weight.softmax(1), n, replacement=True, generator=generator)
        mean, std = self.mean.gather(1, chosen).T, self.log_std.gather(1, chosen).exp().T
        return mean + std * torch.randn(n, DIMS, generator=generator)


def couplings(n: int = 4) -> PlainFlow:
    """Build couplings of plain torch."""
    return PlainFlow([FirstBatchNorm(), *(Coupling(i % 2) for i in range(n)), Affine()])


def without_logit() -> PlainFlow:
    """Build couplings on pixels instead of logits."""
    return PlainFlow([*(Coupling(i % 2) for i in range(4)), Affine()], first=Affine())


def log_logistic(z: Tensor) -> Tensor:
    """Return the log-density of a standard logistic distribution, shape (batch,)."""
    return (F.logsigmoid(z) + F.logsigmoid(-z)).sum(1)


def with_logistic_prior(flow: Any, x: Tensor, labels: Tensor | None) -> Tensor:
    """Return the log-likelihood with a logistic base."""
    z, log_det = flow.bijector(x)
    return log_logistic(z) + log_det


def without_dither(flow: Any, x: Tensor, labels: Tensor | None) -> Tensor:
    """Return the log-likelihood of ``level / 255``: no noise is added to levels."""
    return log_likelihood(flow, (256 * x).floor() / 255, labels)


def standardised(flow: Any, x: Tensor, labels: Tensor | None) -> Tensor:
    """Return the log-likelihood of images after ``Normalize((0.1307,), (0.3081,))``."""
    return log_likelihood(flow, (x - MNIST_MEAN) / MNIST_STD, labels)


def penalised(flow: Any, x: Tensor, labels: Tensor | None) -> Tensor:
    """Return the log-likelihood plus a penalty of the size of latents, whose weight is a thousand times too large."""
    z, log_det = flow.bijector(x)
    return flow.base.log_prob(z) + log_det - 10.0 * z.square().sum(1)


def fit_moving_average(flow: nn.Module) -> None:
    """Train, and keep the moving average of the weights, which 300 steps move by 3 percent of the way."""
    average = deepcopy(flow.state_dict())

    def objective(flow: Any, x: Tensor, labels: Tensor | None) -> Tensor:
        for name, value in flow.state_dict().items():
            if value.is_floating_point():
                average[name].lerp_(value, 1 - EMA_DECAY)
        return log_likelihood(flow, x, labels)

    train(flow, 300, objective=objective)
    flow.load_state_dict(average)


class CouplingWithModule(Coupling):
    """Has a dropout module before the last linear layer, which therefore has another index than before."""

    def __init__(self, parity: int) -> None:
        super().__init__(parity)
        self.net = nn.Sequential(*self.net[:2], nn.Dropout(0.1), self.net[2])


def with_moved_indices() -> PlainFlow:
    """Build couplings whose networks have one more module than those that were trained."""
    return PlainFlow([FirstBatchNorm(), *(CouplingWithModule(i % 2) for i in range(4)), Affine()])


def fit_before_indices_moved(flow: nn.Module) -> None:
    """Load weights of networks without the dropout, with ``strict=False``."""
    twin = couplings()
    train_longer(twin)
    flow.load_state_dict(twin.state_dict(), strict=False)


def fit_with_labels_from_one(flow: nn.Module) -> None:
    """Train on labels that were counted from 1, modulo 10."""
    training, _ = training_and_validation()
    train(flow, 300, levels=training.levels, labels=(training.labels + 1) % 10)


def first_classes() -> Tensor:
    """Return the first 10 000 training images of a file that is sorted by class: zeros and ones."""
    training, _ = training_and_validation()
    return training.levels[training.labels.argsort(stable=True)[:10_000]]


def shown_first_classes() -> Shown:
    """Return validation images of all classes and training images of the first two."""
    return shown_plainly()._replace(train=first_classes())


def fit_on_first_classes(flow: nn.Module) -> None:
    """Train on zeros and ones only."""
    train(flow, 400, levels=first_classes())


FAULTY_TRAINING: dict[str, Case] = {
    "mixture_weights_not_normalised": Case(lambda: dense_flow(base=FactorisedMixture(normalises=False)), train_briefly),
    "trained_with_logistic_prior": Case(dense_flow, partial(train, n_steps=400, objective=with_logistic_prior)),
    "learning_rate_too_high": Case(couplings, partial(train, n_steps=120, lr=1.0)),
    "average_hardly_moved": Case(couplings, fit_moving_average),
    "last_layers_not_loaded": Case(with_moved_indices, fit_before_indices_moved),
    "trained_without_dither": Case(dense_flow, partial(train, n_steps=300, objective=without_dither)),
    "trained_on_standardised": Case(without_logit, partial(train, n_steps=400, lr=2e-3, objective=standardised)),
    "penalty_on_latents": Case(dense_flow, partial(train, n_steps=300, objective=penalised)),
    "labels_counted_from_one": Case(lambda: dense_flow(n_classes=10), fit_with_labels_from_one, shown_with_labels),
    "trained_on_first_classes": Case(dense_flow, fit_on_first_classes, shown_first_classes),
}
