"""Healthy flows of parts of nf_mnist: a linear map, small images, a mixture as base, labels, whole models."""

from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.diagnosis.blind.builders import DIMS, dense_flow, fit_with_labels, model
from benchmarks.diagnosis.blind.cases import Case, Shown, shown_plainly, shown_with_labels, training_and_validation
from benchmarks.diagnosis.blind.changed_images import to_bytes
from benchmarks.diagnosis.blind.fourth.faulty_own import MixtureBase, fit_whitened, scales, whitened
from benchmarks.diagnosis.blind.fourth.layers import turns
from benchmarks.diagnosis.blind.third.layers import on_vectors, train_quickly
from benchmarks.diagnosis.blind.training import train
from nf_mnist.bijectors import (
    ActNorm,
    AffineCoupling,
    Bijector,
    ContinuousMap,
    Flatten,
    Inverse,
    Logit,
    OdeSolver,
    Permutation,
    Sequential,
    make_mask,
    random_order,
)
from nf_mnist.flows import Flow
from nf_mnist.nets import MLP

SMALL_SHAPE, SMALL_DIMS = (1, 14, 14), 196


def small(levels: Tensor) -> Tensor:
    """Return images of 14x14 pixels."""
    return to_bytes(F.avg_pool2d(levels.float(), 2))


def small_flow() -> Flow:
    """Build couplings of small images."""
    kept = make_mask("even_odd", (SMALL_DIMS,))
    layers: list[Bijector] = [Logit(), Flatten(SMALL_SHAPE)]
    for mask in (kept, 1 - kept, kept, 1 - kept):
        nets = MLP(SMALL_DIMS, 48, 1), MLP(SMALL_DIMS, 48, 1)
        layers += [ActNorm((SMALL_DIMS,)), AffineCoupling(mask, *nets, "tanh")]
    return Flow(Sequential(layers), SMALL_SHAPE)


def fit_small(flow: nn.Module) -> None:
    """Train on small images."""
    train_quickly(flow, levels=small(training_and_validation()[0].levels))


def shown_small() -> Shown:
    """Return small images."""
    shown = shown_plainly()
    return Shown(small(shown.levels), small(shown.train))


def backwards() -> Flow:
    """Build couplings that are used in the other direction, with permutations between them."""
    layers: list[Bijector] = []
    for i, mask in enumerate(turns(4)):
        coupling = AffineCoupling(mask, MLP(DIMS, 48, 1), MLP(DIMS, 48, 1), "twice_sigmoid")
        layers += [Inverse(coupling), Permutation(random_order(DIMS, i))]
    return on_vectors(*layers)


class Velocity(nn.Module):
    """A perceptron's velocity at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.proj_in, self.time, self.proj_out = nn.Linear(DIMS, 64), nn.Linear(1, 64), nn.Linear(64, DIMS)
        nn.init.normal_(self.proj_out.weight, std=0.01)

    def forward(self, x: Tensor, time: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the velocities of states, shape (batch, 784), at times, shape (batch,)."""
        return self.proj_out((self.proj_in(x) + self.time(time[:, None])).tanh())


def continuous() -> Flow:
    """Build a continuous map of vectors, whose log-determinant is estimated."""
    return on_vectors(ContinuousMap(Velocity(), OdeSolver(n_steps=12)), ActNorm((DIMS,)))


REAL_NVP = ("model=realnvp", "model.flow.n_scales=2", "model.flow.hidden_channels=8", "model.flow.n_blocks=1")
HEALTHY_OWN: dict[str, Case] = {
    "dense_components": Case(whitened, fit_whitened),
    "dense_turns": Case(lambda: dense_flow(masks=turns(4)), train_quickly),
    "scales_convolved": Case(scales, partial(train, n_steps=120, lr=2e-3)),
    "base_mixed": Case(lambda: dense_flow(4, base=MixtureBase()), train_quickly),
    "dense_small": Case(small_flow, fit_small, shown_small),
    "dense_backwards": Case(backwards, train_quickly),
    "dense_continuous": Case(continuous, partial(train, n_steps=60, lr=2e-3)),
    "model_labels": Case(
        model(*REAL_NVP, "model.flow.n_classes=10"), partial(fit_with_labels, n_steps=60), shown_with_labels
    ),
}
