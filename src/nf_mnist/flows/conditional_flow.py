"""A flow conditioned on the observed pixels of an image: inpainting in one sampling pass."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from nf_mnist.bijectors import Bijector, PixelGrid, Shape
from nf_mnist.bijectors.quantile_map import level_and_fraction
from nf_mnist.data.regions import HALVES, random_observed, region
from nf_mnist.errors import ConfigError, ShapeError
from nf_mnist.flows.flow import Flow

RANDOM = "random"


class ConditionalFlow(Flow):
    """A density of images given some of their pixels; observed pixels cost no bits, and samples keep them.

    The context is an observed image, shape (batch, 2, height, width): its levels, and 1 where a pixel is observed, 0
    where one is hidden (the level of a hidden pixel is ignored). Without a context nothing is observed: the density is
    then that of whole images, comparable with any other flow's, and samples are drawn from the prior.

    Args:
        bijector: Maps data, shape (batch, *event_shape), to a flat latent, shape (batch, dims).
        event_shape: Shape of an image, (1, height, width).
        training_mask: What is hidden in training: ``random``, a random part of each image, or one of
            :data:`~nf_mnist.data.regions.HALVES`, which makes a specialist of that half. If several are given, one is
            drawn for each image.

    Raises:
        ConfigError: If ``training_mask`` is none of these.
    """

    takes_observed_pixels = True

    def __init__(self, bijector: Bijector, event_shape: Shape, training_mask: str | Sequence[str] = RANDOM) -> None:
        super().__init__(bijector, event_shape)
        if isinstance(training_mask, str) or not isinstance(training_mask, Sequence):
            training_mask = (training_mask,)
        self.training_mask = tuple(training_mask)
        if not self.training_mask or any(name not in (RANDOM, *HALVES) for name in self.training_mask):
            got = ", ".join(map(str, self.training_mask))
            raise ConfigError(f"model.flow.training_mask must be of {RANDOM}, {', '.join(HALVES)}, got {got!r}")

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return super().forward(x, self._observed(len(x), context))

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        return super().encode(x, self._observed(len(x), context))

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return super().decode(z, self._observed(len(z), context))

    def training_context(self, levels: Tensor, labels: Tensor) -> Tensor:
        """Return a batch of images as observed in training; random masks come from the global random state."""
        choices = torch.stack([_observed_under(name, levels) for name in self.training_mask])
        images = torch.arange(len(levels), device=levels.device)
        observed = choices[torch.randint(len(choices), (len(levels),), device=levels.device), images]
        return torch.cat([levels, observed], 1).to(torch.get_default_dtype())

    def validation_context(self, levels: Tensor, labels: Tensor) -> Tensor | None:
        """Return what a specialist of one half observes; None for other flows, which scores whole images."""
        is_specialist = len(self.training_mask) == 1 and self.training_mask[0] in HALVES
        return self.training_context(levels, labels) if is_specialist else None

    def _check_context(self, context: Tensor | None, batch_size: int) -> None:
        if context is not None and context.shape[1:] != (2, *self.event_shape[1:]):
            raise ShapeError(
                f"this flow is conditioned on observed images, (batch, 2, {self.event_shape[1]}, "
                f"{self.event_shape[2]}), got {tuple(context.shape)}"
            )

    def _observed(self, batch_size: int, context: Tensor | None) -> Tensor:
        self._check_context(context, batch_size)
        if context is not None:
            level, is_observed = context[:, :1], context[:, 1:]
            return torch.cat([torch.where(is_observed > 0, level, 0.0), is_observed], 1)
        return next(self.parameters()).new_zeros(batch_size, 2, *self.event_shape[1:])


def _observed_under(mask: str, levels: Tensor) -> Tensor:
    """Return which pixels of each image are observed under a training mask, shape of the levels and dtype bool."""
    if mask == RANDOM:
        return random_observed(levels)
    return ~region(mask, levels.shape[2], levels.shape[3], levels.device).expand_as(levels)


def observed_image(x: Tensor, observed: Tensor) -> Tensor:
    """Return the context of images of which some pixels are observed, shape (batch, 2, height, width).

    Args:
        x: Images in [0, 1], shape (batch, 1, height, width); hidden pixels do not matter.
        observed: Which pixels are observed, shape (1, height, width).
    """
    level, _ = level_and_fraction(x)
    return torch.cat([level, observed.expand_as(level).to(level)], 1)


def teacher_forced(flow: Flow) -> ConditionalFlow:
    """Return a copy of an unconditional hierarchy that takes observed pixels as its context.

    Nothing else changes: hidden pixels are drawn from the same conditionals, after observed levels instead of drawn
    ones ("teacher forcing", Williams & Zipser 1989). That is not the distribution of hidden pixels given the observed
    ones: pixels that come early do not know of those observed later.

    Raises:
        ConfigError: If the flow is no hierarchy, or conditioned already.
    """
    if flow.n_classes or flow.takes_observed_pixels:
        raise ConfigError("observed pixels can be forced on an unconditional flow only")
    bijector = copy.deepcopy(flow.bijector)
    bijector.teacher_force(PixelGrid.whole())
    return ConditionalFlow(bijector, flow.event_shape).eval()
