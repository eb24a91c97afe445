"""Faulty flows of layers of FrEIA and zuko."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import zuko
from FrEIA.framework import SequenceINN
from FrEIA.modules import (
    AllInOneBlock,
    GINCouplingBlock,
    GLOWCouplingBlock,
    InvertibleModule,
    LearnedElementwiseScaling,
)
from torch import Tensor, nn

from benchmarks.diagnosis.blind.builders import DIMS
from benchmarks.diagnosis.blind.cases import (
    Case,
    Shown,
    shown_plainly,
    shown_with_labels,
    training_and_validation,
)
from benchmarks.diagnosis.blind.third.layers import Net, on_vectors, train_quickly
from benchmarks.diagnosis.blind.training import BATCH_SIZE, log_likelihood, log_normal, train
from nf_mnist.adapters import FromFrEIA, FromZuko
from nf_mnist.bijectors import Bijector
from nf_mnist.data import UniformDequantizer, draw_noise
from nf_mnist.flows import Flow


def freia(*blocks: tuple[type[InvertibleModule], dict[str, Any]]) -> Flow:
    """Build blocks of FrEIA on vectors, each given as its class and its settings."""
    sequence = SequenceINN(DIMS)
    for block, settings in blocks:
        sequence.append(block, **settings)
    return on_vectors(FromFrEIA(sequence))


def freia_couplings(block: type[InvertibleModule] = GLOWCouplingBlock, n: int = 2) -> Flow:
    """Build couplings of FrEIA."""
    return freia(*[(block, {"subnet_constructor": Net})] * n)


class OneStepBlock(GLOWCouplingBlock):
    """A double coupling whose second half is transformed given the first half of the input, not of the output.

    https://github.com/vislearn/FrEIA/pull/53 is a similar mistake in the Jacobian of the same block.
    """

    def forward(self, x: Sequence[Tensor], c: Sequence[Tensor] = (), rev: bool = False, jac: bool = True) -> Any:
        """Transform both halves."""
        if rev:
            return super().forward(x, list(c), rev, jac)
        first, second = torch.split(x[0], [self.split_len1, self.split_len2], 1)
        y1, log_det1 = self._coupling1(first, second)
        y2, log_det2 = self._coupling2(second, first)
        return (torch.cat([y1, y2], 1),), log_det1 + log_det2


def freia_volume() -> Flow:
    """Build couplings of FrEIA that keep the volume, and its scale of each dimension.

    FrEIA 0.2's LearnedElementwiseScaling returns the same log-determinant in both directions.
    """
    return freia((GINCouplingBlock, {"subnet_constructor": Net}), (LearnedElementwiseScaling, {}))


def fit_by_epochs_that_are_steps(flow: nn.Module, n_steps: int = 300) -> None:
    """Train with a schedule that is meant for epochs, and is called after each batch."""
    optimizer = torch.optim.Adam(flow.parameters(), 1e-3)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.8)
    levels = training_and_validation()[0].levels
    flow.train()
    for _ in range(n_steps):
        index = torch.randint(len(levels), (BATCH_SIZE,))
        x, _ = UniformDequantizer()(levels[index], draw_noise(levels[index]))
        optimizer.zero_grad()
        (-log_likelihood(flow, x, None).mean()).backward()
        optimizer.step()
        schedule.step()
    flow.eval()


def shown_bilevel() -> Shown:
    """Return validation images of black and white only, as those of Larochelle and Murray (2011)."""
    shown = shown_plainly()
    return shown._replace(levels=255 * (shown.levels > 127).to(torch.uint8))


class OneHot(Bijector):
    """Gives a bijector labels as vectors of zeros and a one.

    Args:
        bijector: The bijector.
        tells_inverse: Whether the inverse is given the labels as well.
    """

    def __init__(self, bijector: Bijector, tells_inverse: bool = True) -> None:
        super().__init__()
        self.bijector, self.tells_inverse = bijector, tells_inverse

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        assert context is not None
        return self.bijector(x, nn.functional.one_hot(context, 10).to(x))

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        assert context is not None
        labels = nn.functional.one_hot(context, 10).to(z)
        return self.bijector.inverse_and_log_det(z, labels if self.tells_inverse else torch.zeros_like(labels))


class ClassAffine(Bijector):
    """A scale and shift of each dimension for each class."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale, self.shift = nn.Parameter(torch.zeros(10, DIMS)), nn.Parameter(torch.zeros(10, DIMS))

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_scale = self.log_scale[context]
        return x * log_scale.exp() + self.shift[context], log_scale.sum(1)

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        log_scale = self.log_scale[context]
        return (z - self.shift[context]) * (-log_scale).exp(), -log_scale.sum(1)


def zuko_nice(context: int = 0, **settings: Any) -> FromZuko:
    """Build affine couplings of zuko."""
    return FromZuko(zuko.flows.NICE(DIMS, context=context, transforms=3, hidden_features=[64], **settings))


def zuko_labels(tells_inverse: bool = True) -> Flow:
    """Build couplings of zuko that take labels.

    With labels kept from the inverse it is https://github.com/rll/deepul/issues/7, where ``invert`` drops ``cond``.
    """
    return on_vectors(OneHot(zuko_nice(10), tells_inverse), ClassAffine(), n_classes=10)


def fit_labels(flow: nn.Module) -> None:
    """Train on images and their labels."""
    images, _ = training_and_validation()
    train(flow, 300, 3e-3, levels=images.levels, labels=images.labels)


def mean_and_sum(flow: Any, x: Tensor, labels: Tensor | None) -> Tensor:
    """Return a loss that averages the prior over the dimensions and sums the log-determinant over them.

    https://github.com/AlessioGalluccio/FastFlow/issues/14 discusses such means.
    """
    z, log_det = flow.bijector(x)
    return log_normal(z) / DIMS + log_det


def shown_with_labels_of_others() -> Shown:
    """Return validation images with the labels of other images, as from two shuffled loaders."""
    shown = shown_with_labels()
    assert shown.labels is not None
    return shown._replace(
        labels=shown.labels[torch.randperm(len(shown.labels), generator=torch.Generator().manual_seed(3))]
    )


FREIA: Callable[[], Flow] = partial(freia, *[(AllInOneBlock, {"subnet_constructor": Net})] * 3)
FAULTY_FREIA_ZUKO: dict[str, Case] = {
    "freia_double": Case(partial(freia_couplings, OneStepBlock), train_quickly),
    "freia_volume": Case(freia_volume, train_quickly),
    "freia_epochs": Case(freia_couplings, fit_by_epochs_that_are_steps),
    "freia_contrast": Case(FREIA, train_quickly, shown_bilevel),
    "zuko_conditional": Case(partial(zuko_labels, False), shown=shown_with_labels, weights="zuko_labels"),
    "zuko_classes": Case(zuko_labels, shown=shown_with_labels_of_others, weights="zuko_labels"),
    "zuko_affine": Case(lambda: on_vectors(zuko_nice()), partial(train_quickly, objective=mean_and_sum)),
}
