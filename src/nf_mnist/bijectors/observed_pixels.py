"""How couplings read an observed image, which is the context of a conditional flow."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from nf_mnist.bijectors.discretized_logistic import KnownLevels, LevelMixture
from nf_mnist.errors import ConfigError


class ObservedPixels(NamedTuple):
    """How a coupling reads the observed image, its context, at a lower resolution.

    The context has shape (batch, 2, height, width): levels, which are 0 where a pixel is hidden, and flags, which are 1
    where a pixel is observed and 0 where it is hidden. Each pixel of the coupling corresponds to a block of ``stride``
    x ``stride`` pixels.

    Attributes:
        stride: Distance of the coupling's pixels in the observed image.
        offset: Index of the coupling's own pixel in its block, row by row.
        is_seen: Whether networks see the observed image. If not, observed pixels are fixed and nothing else changes.
    """

    stride: int
    offset: int
    is_seen: bool = True

    def blocks(self, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the levels and flags of each block, shape (batch, stride^2, height, width) each.

        Raises:
            ConfigError: If there is no context.
        """
        if context is None:
            raise ConfigError("these couplings are conditioned on observed pixels; give them as context")
        levels, is_observed = F.pixel_unshuffle(context, self.stride).chunk(2, 1)
        return levels, is_observed

    def features(self, context: Tensor | None) -> Tensor:
        """Return what networks see: levels in [-1, 1] and flags, 2 stride^2 channels; no channels if not seen."""
        levels, is_observed = self.blocks(context)
        features = torch.cat([(levels / 127.5 - 1) * is_observed, is_observed], 1)
        return features if self.is_seen else features[:, :0]

    def image(self, context: Tensor | None) -> Tensor:
        """Return the levels of observed pixels, 0 elsewhere, shape (batch, image height, image width).

        Raises:
            ConfigError: If there is no context.
        """
        levels, is_observed = (F.pixel_shuffle(part, self.stride)[:, 0] for part in self.blocks(context))
        return levels * is_observed

    def fix(self, mixture: LevelMixture, context: Tensor | None) -> LevelMixture:
        """Return the mixture with the levels of observed pixels known."""
        levels, is_observed = self.blocks(context)
        return mixture._replace(known=KnownLevels(is_observed[:, self.offset] > 0, levels[:, self.offset]))
