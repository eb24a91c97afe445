"""A hierarchy of couplings conditioned on the observed pixels of an image: inpainting in one sampling pass."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from nf_mnist.bijectors import (
    Bijector,
    PixelGrid,
    Shape,
)
from nf_mnist.bijectors.quantile_map import level_and_fraction
from nf_mnist.errors import ConfigError, ShapeError
from nf_mnist.flows.flow import Flow
from nf_mnist.flows.hierarchy import Hierarchy

RANDOM = "random"
HALVES = ("lower", "upper", "right", "left")  # observed; the other half is hidden


class ConditionalFlow(Flow):
    """A density of images given some of their pixels; observed pixels cost no bits, and are drawn as they are.

    The context is an observed image, shape (batch, 2, height, width): levels, and 1 where a pixel is observed, 0 where
    one is hidden (its level is not looked at). None means that nothing is observed: the density is then that of whole
    images, which can be compared with any other flow's, and samples are drawn from the prior.

    Args:
        bijector, event_shape: As of :class:`~nf_mnist.flows.flow.Flow`.
        trained_on: What is observed in training: a random part of each image, or one of :data:`HALVES`, which makes a
            specialist of that half. Of several, one is drawn for each image.

    Raises:
        ConfigError: If ``trained_on`` is none of these.
    """

    def __init__(self, bijector: Bijector, event_shape: Shape, trained_on: str | Sequence[str] = RANDOM) -> None:
        super().__init__(bijector, event_shape)
        if isinstance(trained_on, str) or not isinstance(trained_on, Sequence):
            trained_on = (trained_on,)
        self.trained_on = tuple(trained_on)
        if not self.trained_on or any(part not in (RANDOM, *HALVES) for part in self.trained_on):
            got = ", ".join(map(str, self.trained_on))
            raise ConfigError(f"model.flow.trained_on must be of {RANDOM}, {', '.join(HALVES)}, got {got!r}")

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return super().forward(x, self._observed(len(x), context))

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        return super().decode(z, self._observed(len(z), context))

    def training_context(self, levels: Tensor, labels: Tensor) -> Tensor:
        """Return a part of each image of a batch: the half trained on, or a draw from the global random state."""
        parts = torch.stack([_part(name, levels) for name in self.trained_on])
        images = torch.arange(len(levels), device=levels.device)
        observed = parts[torch.randint(len(parts), (len(levels),), device=levels.device), images]
        return torch.cat([levels, observed], 1).to(torch.get_default_dtype())

    def validation_context(self, levels: Tensor, labels: Tensor) -> Tensor | None:
        """Return the half of each image that a specialist is trained on; else None, which scores whole images."""
        is_specialist = len(self.trained_on) == 1 and self.trained_on[0] in HALVES
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
            level, seen = context[:, :1], context[:, 1:]
            return torch.cat([torch.where(seen > 0, level, 0.0), seen], 1)
        reference = next(self.parameters())
        return reference.new_zeros(batch_size, 2, *self.event_shape[1:])


def _part(name: str, levels: Tensor) -> Tensor:
    """Return which pixels of each image are observed, shape of the levels, bool: of RANDOM, or one of HALVES."""
    if name == RANDOM:
        return random_observed(levels)
    _, _, height, width = levels.shape
    return _halves(height, width, levels.device)[HALVES.index(name)].expand_as(levels)


def observed_image(x: Tensor, observed: Tensor) -> Tensor:
    """Return the context of images in [0, 1], shape (batch, 1, height, width), of which some pixels are observed.

    Args:
        x: The images; their hidden pixels are not looked at.
        observed: Which pixels are given, shape (1, height, width).
    """
    level, _ = level_and_fraction(x)
    return torch.cat([level, observed.expand_as(level).to(level)], 1)


def teacher_forced(flow: Flow) -> ConditionalFlow:
    """Return a copy of an unconditional hierarchy with observed pixels given, and nothing else changed.

    Hidden pixels are drawn from the same conditionals, after observed levels instead of drawn ones ("teacher forcing",
    Williams & Zipser 1989). That is not the law of hidden pixels given the observed ones: pixels that come early do not
    know of those observed later.

    Raises:
        ConfigError: If the flow is no hierarchy, or conditioned already.
    """
    if flow.n_classes or isinstance(flow, ConditionalFlow):
        raise ConfigError("observed pixels can be forced on an unconditional flow only")
    bijector = copy.deepcopy(flow.bijector)
    bijector.teacher_force(PixelGrid.whole())
    return ConditionalFlow(bijector, flow.event_shape).eval()


def random_observed(levels: Tensor) -> Tensor:
    """Return which pixels of each image are observed, shape of the levels, bool.

    A quarter of the images each: the upper, lower, left or right half, which are asked for most; the part inside or
    outside of a random rectangle, whose edges often are the image's or its middle; pixels at random, at a random rate;
    and every second row, or nothing.
    """
    batch, _, height, width = levels.shape
    device = levels.device

    def uniform(*shape: int) -> Tensor:
        return torch.rand(batch, *shape, device=device)

    rows = _random_interval(uniform(3), height)
    columns = _random_interval(uniform(3), width)
    rectangle = rows[:, :, None] & columns[:, None, :]
    rectangle ^= uniform(1, 1) < 0.5
    scattered = uniform(height, width) < uniform(1, 1)
    stripes = (torch.arange(height, device=device) % 2 == (uniform(1) < 0.5).long())[:, :, None]
    stripes = stripes.expand(-1, -1, width) & (uniform(1, 1) < 0.5)
    kind = (4 * uniform(1, 1)).floor()
    observed = torch.where(kind == 0, rectangle, torch.where(kind == 1, scattered, stripes))
    halves = _halves(height, width, device)[(len(HALVES) * uniform()).long()]
    return torch.where(kind == 3, halves, observed)[:, None]


def _halves(height: int, width: int, device: torch.device) -> Tensor:
    """Return the halves of an image as masks, in the order of HALVES, shape (4, height, width)."""
    is_upper = (torch.arange(height, device=device) < height // 2)[:, None].expand(height, width)
    is_left = (torch.arange(width, device=device) < width // 2)[None].expand(height, width)
    return torch.stack([~is_upper, is_upper, ~is_left, is_left])


def _random_interval(draws: Tensor, length: int) -> Tensor:
    """Return random intervals of 0 .. length - 1 as masks, shape (batch, length), of draws of shape (batch, 3)."""
    ends = (draws[:, :2] * 1.5 - 0.25).clamp(0, 1).sort(1).values  # an end is often the image's
    # A third of the intervals begin or end at the middle, as those of halves do.
    middle = draws[:, 2:]
    ends = torch.where(middle < 1 / 6, torch.tensor([0.0, 0.5], device=draws.device), ends)
    ends = torch.where(middle > 5 / 6, torch.tensor([0.5, 1.0], device=draws.device), ends)
    ends = torch.where((middle > 0.4) & (middle < 0.6), torch.tensor([0.0, 1.0], device=draws.device), ends)
    places = (torch.arange(length, device=draws.device) + 0.5) / length
    return (places >= ends[:, :1]) & (places < ends[:, 1:])


def conditional(*, event_shape: Shape, trained_on: str | Sequence[str] = RANDOM, **sizes: int) -> ConditionalFlow:
    """Build a hierarchy conditioned on observed pixels.

    Args:
        event_shape: (1, height, width); the sides must halve ``n_scales`` times.
        trained_on: Of :class:`ConditionalFlow`.
        sizes: Attributes of :class:`~nf_mnist.flows.hierarchy.Hierarchy`.

    Raises:
        ConfigError, ShapeError: As :meth:`~nf_mnist.flows.hierarchy.Hierarchy.build`.
    """
    hierarchy = Hierarchy(n_classes=0, sees_observed=1, **sizes)
    return ConditionalFlow(hierarchy.build(event_shape), event_shape, trained_on)
