"""What laws look at: a flow, images to score, and images that it was trained on."""

import copy
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from nf_mnist.bijectors import Bijector, Shape
from nf_mnist.data import Dequantizer, Images, evaluation_noise, random_subset
from nf_mnist.diagnostics.layers import WithContext
from nf_mnist.flows import ConditionalFlow, Flow

N_PRECISE = 4  # events that are looked at in float64
N_SAMPLES = 64


class Batch(NamedTuple):
    """Dequantized images with log q(x | levels) in nats, their levels, and the context of the flow."""

    x: Tensor
    log_q: Tensor
    levels: Tensor
    context: Tensor | None

    def first(self, n: int) -> "Batch":
        """Return the first n images."""
        return Batch(*(None if part is None else part[:n] for part in self))  # type: ignore[arg-type]

    def double(self) -> "Batch":
        """Return the images, and a context that is no labels, in float64."""
        context = self.context
        if context is not None and context.is_floating_point():
            context = context.double()
        return self._replace(x=self.x.double(), context=context)


class Scores(NamedTuple):
    """Latents, shape (n, dims), log p(x) and log p(x) - log q(x | levels) in nats, shape (n,)."""

    z: Tensor
    log_prob: Tensor
    log_ratio: Tensor


@dataclass
class DiagnosisTask:
    """A flow and the images on which laws are measured; what several laws need is computed once.

    Attributes:
        flow: In evaluation mode, on the device of the images.
        batch: The images to score.
        train: Images that the flow was trained on; None if there are none.
        is_discrete: Whether log p(x) - log q(x | levels) bounds a probability of levels, so that it has bits.
        batch_size: Images in a pass.
        seed: Of samples and noise.
    """

    flow: Flow
    batch: Batch
    train: Batch | None = None
    is_discrete: bool = True
    batch_size: int = 100
    seed: int = 0

    @cached_property
    def scores(self) -> Scores:
        """Latents and log-likelihoods of the images."""
        return self._score(self.batch)

    @cached_property
    def train_scores(self) -> Scores | None:
        """The same of the training images."""
        return None if self.train is None else self._score(self.train)

    @cached_property
    def precise(self) -> tuple[Flow, Batch]:
        """A copy of the flow in float64 and a few images, or in float32 if its map does not run in float64.

        Every logit of the copy counts its log-determinant, so that the map is judged, and not a convention.
        """
        few = self.batch.first(N_PRECISE)
        try:
            exact = in_float64(self.flow), few.double()
            in_float64(self.flow).bijector.forward_and_log_det(exact[1].x.clone(), exact[1].context)
        except Exception:  # which is what the law of dtypes reports
            exact = copy.deepcopy(self.flow).requires_grad_(False), few
        exact[0].bijector.make_exact()
        return exact

    @property
    def slack(self) -> float:
        """By how much more rounding is to be allowed for: 1 in float64, 1e4 where the map runs in float32 only."""
        return 1.0 if self.precise[1].x.dtype == torch.float64 else 1e4

    def precise_arguments(self) -> tuple[WithContext, Tensor]:
        """Return what a check of the contract takes: a copy of :attr:`precise`, whose map no other check has called."""
        flow, few = self.precise
        return WithContext(copy.deepcopy(flow.bijector), few.context), few.x.clone()

    @cached_property
    def samples(self) -> Batch:
        """Prior samples, under the context of the first images."""
        generator = torch.Generator().manual_seed(self.seed)
        first = self.batch.first(N_SAMPLES)
        x = self.flow.sample(len(first.x), context=first.context, generator=generator)
        return first._replace(x=x)

    @torch.no_grad()
    def _score(self, batch: Batch) -> Scores:
        parts = []
        for rows in torch.arange(len(batch.x), device=batch.x.device).split(self.batch_size):
            z, log_prob = self.flow(batch.x[rows], None if batch.context is None else batch.context[rows])
            parts.append((z, log_prob, log_prob.double() - batch.log_q[rows]))
        return Scores(*(torch.cat(part) for part in zip(*parts, strict=True)))


class ExternalBijector(Bijector):
    """Any object with ``forward_and_log_det(x)`` and ``inverse_and_log_det(z)`` as a bijector to a flat latent."""

    def __init__(self, inner: Any, latent_shape: Shape) -> None:
        super().__init__()
        self.inner, self.latent_shape = inner, latent_shape

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z, log_det = self.inner.forward_and_log_det(x)
        return z.flatten(1), log_det

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.inner.inverse_and_log_det(z.reshape(len(z), *self.latent_shape))


@torch.no_grad()
def as_flow(built: Any, event_shape: Shape) -> Flow:
    """Return a flow as it is, and any other invertible map with a standard normal for its latents.

    Args:
        built: A :class:`~nf_mnist.flows.Flow`, or an object with ``forward_and_log_det`` and ``inverse_and_log_det``.
        event_shape: Of the data.

    Returns:
        The flow, in evaluation mode.
    """
    if not isinstance(built, Flow):
        if isinstance(built, nn.Module):
            built.eval()
        try:
            latent_shape = tuple(built.forward_and_log_det(torch.full((2, *event_shape), 0.5))[0].shape[1:])
        except Exception:  # which is what the law of shapes reports
            latent_shape = tuple(event_shape)
        built = Flow(ExternalBijector(built, latent_shape), event_shape)
    return built.eval()


@torch.no_grad()
def make_batch(flow: Flow, dequantizer: Dequantizer, images: Images, n: int, seed: int) -> Batch:
    """Dequantize a seeded random sample of n images on the device of the flow, under whole-image contexts.

    Labels are those of the images; a flow conditioned on observed pixels is told that nothing is observed.
    """
    device = next(flow.parameters(), torch.empty(0)).device
    chosen, index = random_subset(images, n, seed)
    levels = chosen.levels.to(device)
    x, log_q = dequantizer(levels, evaluation_noise(index, tuple(levels.shape[1:]), 0, seed).to(device))
    context = flow.context(chosen.labels.to(device))
    if isinstance(flow, ConditionalFlow):
        context = x.new_zeros(len(x), 2, *flow.event_shape[1:])
    return Batch(x, log_q, levels, context)


def in_float64(flow: Flow) -> Flow:
    """Return a copy in float64, of which no gradients are kept."""
    return copy.deepcopy(flow).double().requires_grad_(False)
