"""What checks look at: a flow, images to score, and images that it was trained on."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from nf_mnist.diagnostics.batch import Batch
from nf_mnist.diagnostics.layers import WithContext, first_layer
from nf_mnist.flows import Flow

N_PRECISE = 4  # images that are examined in float64
N_SAMPLES = 64


class Scores(NamedTuple):
    """Latents and log-likelihoods of n images.

    Attributes:
        z: Latents, shape (n, dims).
        log_prob: log p(x) in nats, shape (n,).
        log_ratio: log p(x) - log q(x | levels) in nats, shape (n,).
    """

    z: Tensor
    log_prob: Tensor
    log_ratio: Tensor


@dataclass
class DiagnosisTask:
    """A flow and the images to check it with. What several checks need is computed once.

    Attributes:
        flow: The flow, in evaluation mode, on the device of the images.
        batch: Images to score.
        train: Images that the flow was trained on; None if there are none.
        is_discrete: Whether log p(x) - log q(x | levels) bounds a probability of levels and so has bits per dimension.
        batch_size: Number of images in one forward pass.
        seed: Seed of samples and noise.
        is_in_unit_interval: Whether the noise of the images leaves them in [0, 1].
    """

    flow: Flow
    batch: Batch
    train: Batch | None = None
    is_discrete: bool = True
    batch_size: int = 100
    seed: int = 0
    is_in_unit_interval: bool = True

    @cached_property
    def scores(self) -> Scores:
        """Latents and log-likelihoods of the images."""
        return self._score(self.batch)

    @cached_property
    def train_scores(self) -> Scores | None:
        """Latents and log-likelihoods of the training images; None if there are none."""
        return None if self.train is None else self._score(self.train)

    @cached_property
    def precise(self) -> tuple[Flow, Batch]:
        """A copy of the flow in float64 and a few images; both in float32 if the map does not run in float64.

        In the copy every layer counts its log-determinant, so that checks see the map itself and not a convention.
        """
        few = self.batch.first(N_PRECISE)
        try:
            flow, batch = in_float64(self.flow), few.double()
            in_float64(self.flow).bijector.forward_and_log_det(batch.x.clone(), batch.context)
        except Exception:  # the check of dtypes reports it
            flow, batch = copy.deepcopy(self.flow).requires_grad_(False), few
        flow.bijector.make_exact()
        return flow, batch

    @property
    def slack(self) -> float:
        """Factor by which rounding errors may be larger: 1 in float64, 1e4 if the map runs in float32 only."""
        return 1.0 if self.precise[1].x.dtype == torch.float64 else 1e4

    def precise_arguments(self) -> tuple[WithContext, Tensor]:
        """Return the arguments of a contract rule: fresh copies of the map and images of :attr:`precise`."""
        flow, few = self.precise
        return WithContext(copy.deepcopy(flow.bijector), few.context), few.x.clone()

    def where(self, is_faulty: Callable[[WithContext, Tensor], bool]) -> str:
        """Say which layer is the first faulty one, as the end of a sentence; empty if no single layer is.

        Args:
            is_faulty: Whether a layer is faulty on the values that reach it.
        """
        flow, few = self.precise
        try:
            reached = first_layer(flow.bijector, few.x.clone(), few.context, is_faulty)
        except Exception:  # the flow cannot even be called, as the result of the check says
            return ""
        return "" if reached is None else f"; in {reached.title}"

    @cached_property
    def samples(self) -> Batch:
        """Samples of the flow under the contexts of the first images."""
        generator = torch.Generator().manual_seed(self.seed)
        first = self.batch.first(N_SAMPLES)
        x = self.flow.sample(len(first.x), context=first.context, generator=generator)
        return first._replace(x=x)

    @torch.no_grad()
    def _score(self, batch: Batch) -> Scores:
        scores = []
        for rows in torch.arange(len(batch.x), device=batch.x.device).split(self.batch_size):
            z, log_prob = self.flow(batch.x[rows], None if batch.context is None else batch.context[rows])
            scores.append((z, log_prob, log_prob.double() - batch.log_q[rows]))
        return Scores(*(torch.cat(values) for values in zip(*scores, strict=True)))


def in_float64(flow: Flow) -> Flow:
    """Return a copy in float64 whose parameters need no gradients."""
    return copy.deepcopy(flow).double().requires_grad_(False)
