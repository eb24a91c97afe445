"""What checks look at: a flow, images to score, and images that it was trained on."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from nf_mnist.diagnostics.access.batch import Batch
from nf_mnist.diagnostics.access.forms import Bound
from nf_mnist.diagnostics.access.isolation import copied, seeded
from nf_mnist.diagnostics.access.layers import ReachedLayer, WithContext, first_layer
from nf_mnist.diagnostics.access.precision import WithoutLogDet, differs_by_chance, in_float64
from nf_mnist.diagnostics.measures.moved_weights import unsettled
from nf_mnist.diagnostics.measures.prior import Prior, read_prior
from nf_mnist.diagnostics.measures.saturation import saturated
from nf_mnist.diagnostics.measures.weights import Weights, read_weights
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
        rebuild: Builds the flow once more, as it was built, with random numbers of its own; None if nobody can.
        sets: Grey levels of all images of the set that is scored, and of the training set; None if not at hand.
    """

    flow: Flow
    batch: Batch
    train: Batch | None = None
    is_discrete: bool = True
    batch_size: int = 100
    seed: int = 0
    is_in_unit_interval: bool = True
    rebuild: Callable[[], Flow] | None = None
    sets: tuple[Tensor, Tensor] | None = None

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
            flow, batch = copied(self.flow).requires_grad_(False), few
        flow.bijector.make_exact()
        return flow, batch

    def precise_batch(self, n: int) -> Batch:
        """Return the first n images in the precision of :attr:`precise`."""
        first = self.batch.first(n)
        return first.double() if self.precise[1].x.dtype == torch.float64 else first

    @property
    def slack(self) -> float:
        """Factor by which rounding errors may be larger: 1 in float64, 1e4 if the map runs in float32 only."""
        return 1.0 if self.precise[1].x.dtype == torch.float64 else 1e4

    def precise_arguments(self) -> tuple[WithContext, Tensor]:
        """Return the arguments of a contract rule: fresh copies of the map and images of :attr:`precise`."""
        flow, few = self.precise
        bijector: nn.Module = copied(flow.bijector)
        if self.is_estimate:
            bijector = WithoutLogDet(bijector)
        return WithContext(bijector, few.context), few.x.clone()

    @cached_property
    def is_estimate(self) -> bool:
        """Whether log-determinants differ from call to call while latents do not: they are estimates."""
        flow, few = self.precise
        try:
            return differs_by_chance(WithContext(flow.bijector, few.context), few.x)
        except Exception:  # the check of shapes reports it
            return False

    @cached_property
    def rebuilt(self) -> Flow | None:
        """The flow as it is built once more, with other random numbers; None if nobody can build it."""
        if self.rebuild is None:
            return None
        with seeded(self.seed + 1):
            return self.rebuild().to(self.batch.x.device).eval()

    @cached_property
    def weights(self) -> Weights:
        """What the values of the weights show."""
        return read_weights(self.flow)

    @property
    def is_untrained(self) -> bool:
        """Whether the flow has no weights, or all are at their initial values, as far as that can be told."""
        return self.weights.is_empty or self.weights.are_initial

    @cached_property
    def prior(self) -> Prior:
        """Moments of the base distribution."""
        return read_prior(self.flow.base, self.flow.dims, self.batch.x.device)

    @cached_property
    def variants(self) -> list[Flow]:
        """The flow of :attr:`precise`, and the same with its weights moved if some are at initial values."""
        flow, few = self.precise
        if not self.weights.initial or few.x.dtype != torch.float64:
            return [flow]
        is_trainable = {name: value.requires_grad for name, value in self.flow.named_parameters()}
        moved = unsettled(flow, is_trainable)
        return [flow, cast(Flow, moved)]

    def first_layer(self, is_faulty: Callable[[Bound, Tensor], bool]) -> ReachedLayer | None:
        """Return the first faulty layer, on a few images in the precision of :attr:`precise`; None if no single one is.

        Args:
            is_faulty: Whether a layer is faulty on the values that reach it.
        """
        flow, few = self.precise
        try:
            return first_layer(copied(flow.bijector), few.x.clone(), few.context, is_faulty)
        except Exception:  # the flow cannot even be called, as the result of the check says
            return None

    @cached_property
    def samples(self) -> Batch:
        """Samples of the flow under the contexts of the first images."""
        generator = torch.Generator().manual_seed(self.seed)
        first = self.batch.first(N_SAMPLES)
        x = self.flow.sample(len(first.x), context=first.context, generator=generator)
        return first._replace(x=x)

    @cached_property
    @torch.no_grad()
    def sample_latents(self) -> Tensor:
        """Latents of the samples as they are encoded again, shape (n, dims)."""
        return self.flow.encode(self.samples.x, self.samples.context).flatten(1)

    @cached_property
    def saturated_samples(self) -> Tensor:
        """Which samples a sigmoid has rounded, so that their latents are lost, shape (n,)."""
        return saturated(self.samples.x, self.sample_latents, self.flow.base, self.prior)

    @torch.no_grad()
    def log_prob(self, batch: Batch) -> Tensor:
        """Return log p of images in nats, shape (n,)."""
        return torch.cat([self.flow.log_prob(part.x, part.context) for part in batch.split(self.batch_size)])

    @torch.no_grad()
    def _score(self, batch: Batch) -> Scores:
        scores = []
        for part in batch.split(self.batch_size):
            z, log_prob = self.flow(part.x, part.context)
            scores.append((z, log_prob, log_prob.double() - part.log_q))
        return Scores(*(torch.cat(values) for values in zip(*scores, strict=True)))
