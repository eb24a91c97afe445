"""Autoregression over the patches of an image (Zhai et al. 2024, "Normalizing flows are capable generative models")."""

from typing import Any, cast

import torch
from torch import Tensor, nn

from nf_mnist.bijectors.base import Bijector, Shape
from nf_mnist.errors import ShapeError


class Patches(Bijector):
    """Cut an image into square patches: (channels, height, width) becomes (n_patches, patch_features).

    Args:
        event_shape: (channels, height, width).
        patch_size: Side of a patch in pixels.

    Attributes:
        event_shape_out: (n_patches, channels * patch_size ** 2); patches are in reading order.

    Raises:
        ShapeError: If the side of a patch does not divide those of the image.
    """

    def __init__(self, event_shape: Shape, patch_size: int) -> None:
        super().__init__()
        channels, height, width = event_shape
        if height % patch_size or width % patch_size:
            raise ShapeError(
                f"patch_size={patch_size} does not divide the sides of images of {height}x{width}; choose a "
                "model.flow.patch_size that does"
            )
        self.patch_size = patch_size
        self.grid = (height // patch_size, width // patch_size)
        self.event_shape_out = (self.grid[0] * self.grid[1], channels * patch_size**2)

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        patches = nn.functional.pixel_unshuffle(x, self.patch_size).flatten(2).transpose(1, 2)
        return patches, x.new_zeros(len(x))

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        channels = z.transpose(1, 2).unflatten(2, self.grid)
        return nn.functional.pixel_shuffle(channels, self.patch_size), z.new_zeros(len(z))


class PatchAutoregression(Bijector):
    """Shift and scale each patch by what a network predicts from the patches before it; the first is left unchanged.

    ``z_i = (x_i - mu_i) exp(-alpha_i)`` with log-determinant ``-sum(alpha_i)`` (Zhai et al. 2024, equation 4). The
    forward map takes one pass of the network. The inverse takes the patches one by one, with cached keys and values.

    Args:
        net: Predicts mu and alpha of a patch, such as a :class:`~nf_mnist.nets.CausalTransformer` with
            ``out_features`` of twice the size of a patch.
        is_reversed: Whether the order of the patches is last to first.
    """

    def __init__(self, net: nn.Module, is_reversed: bool = False) -> None:
        super().__init__()
        self.net = net
        self.is_reversed = is_reversed

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        ordered = self._ordered(x)
        predicted = self.net(ordered) if context is None else self.net(ordered, context)
        mu, alpha = predicted.to(x.dtype).chunk(2, -1)
        z = torch.cat([ordered[:, :1], (ordered[:, 1:] - mu) * (-alpha).exp()], 1)
        return self._ordered(z), -alpha.flatten(1).sum(1)

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        first, *others = self._ordered(z).unbind(1)
        predict = cast(Any, self.net).next_prediction(context)
        known, total = [first], z.new_zeros(len(z))
        for latent in others:
            mu, alpha = predict(known[-1]).to(z.dtype).chunk(2, -1)
            known.append(latent * alpha.exp() + mu)
            total = total + alpha.sum(1)
        return self._ordered(torch.stack(known, 1)), total

    def _ordered(self, patches: Tensor) -> Tensor:
        """Bring patches into the order of prediction, or back."""
        return patches.flip(1) if self.is_reversed else patches
