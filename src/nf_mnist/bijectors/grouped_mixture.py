"""The bijector of a coarsest image, whose pixels are predicted in groups from earlier groups."""

import torch
from torch import Tensor, nn

from nf_mnist.bijectors.discretized_logistic import LevelMixture, level_features
from nf_mnist.bijectors.mixture_coupling import LevelBijector, mixture_forward, mixture_inverse
from nf_mnist.bijectors.observed_pixels import ObservedPixels
from nf_mnist.bijectors.placed_prior import GroupedPrior
from nf_mnist.bijectors.quantile_map import level_and_fraction
from nf_mnist.bijectors.tilted import TiltedMixture

QUANTILE_OF_BLACK = -12.0  # a normal quantile that every distribution maps to level 0


class GroupedMixture(LevelBijector):
    """Transform a whole image in groups of pixels, each group given all earlier ones: block-autoregressive.

    From data to latent it takes one pass of the network, from latent to data one pass per group.

    Args:
        groups: Group of each pixel, counted from 0, shape (height, width).
        net: Maps features, shape (batch, 2, height, width), and the context if there is one, to parameters, shape
            (batch, 1 + 3 components, height, width), one more with a prior. The parameters of a pixel must depend on
            earlier groups only.
        observed_pixels: How to read an observed image. The context is then that image, and the network gets its
            features in place of the context. If None, the context goes to the network as it is.
        prior: What predicts levels from earlier groups as well. The network's last parameter then tells how much it
            counts.
    """

    groups: Tensor

    def __init__(
        self,
        groups: Tensor,
        net: nn.Module,
        observed_pixels: ObservedPixels | None = None,
        prior: GroupedPrior | None = None,
    ) -> None:
        super().__init__(0, net, observed_pixels, prior)
        self.register_buffer("groups", groups, persistent=False)
        self.n_groups = int(groups.max()) + 1  # known to the host, so that it need not wait for the device

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z, log_det = mixture_forward(self.predict_mixture(x, context), x[:, 0])
        return z.unsqueeze(1), log_det.flatten(1).sum(1)

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        x, log_det = torch.full_like(z, 0.5), torch.zeros_like(z[:, 0])
        for group in range(self.n_groups):
            members = self.groups == group
            quantiles = torch.where(members, z[:, 0], QUANTILE_OF_BLACK)  # other groups then need no table
            found, change = mixture_inverse(self.predict_mixture(x, context), quantiles)
            x = torch.where(members, found.unsqueeze(1), x)
            log_det = torch.where(members, change, log_det)
        return x, log_det.flatten(1).sum(1)

    def predict_mixture(self, values: Tensor, context: Tensor | None) -> LevelMixture | TiltedMixture:
        """Return the distributions predicted for each pixel from earlier groups, shape (batch, height, width)."""
        level, _ = level_and_fraction(values)
        features = level_features(level)
        if self.observed_pixels is not None:
            context_seen = self.observed_pixels.features(context) if self.observed_pixels.is_seen else None
        else:
            context_seen = context
        parameters = self.net(features) if context_seen is None else self.net(features, context_seen)
        return self._distributions(parameters.to(values.dtype), level, context)
