"""Dequantization: from 8-bit levels to real numbers, and back."""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nf_mnist.data.dequantization_noise import unit_interval
from nf_mnist.errors import ConfigError


class Dequantizer(nn.Module, ABC):
    """A random map from levels to real numbers, with its log-density.

    Attributes:
        is_discrete: Whether log p(x) - log q(x | levels) bounds a log-probability of levels, so that bits per dimension
            are defined.
        unit: Name of that difference.
        logit_unit: Name of that difference for a flow that does not count its logit's log-determinant.
        is_in_unit_interval: Whether all results lie in [0, 1].
    """

    is_discrete: bool
    is_in_unit_interval = True
    unit: str
    logit_unit: str

    @abstractmethod
    def forward(self, levels: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Dequantize images.

        Args:
            levels: Images, shape (batch, 1, height, width) and dtype uint8.
            noise: Integers in 0 .. 2^15 - 1 of the same shape; see :func:`~nf_mnist.data.draw_noise` and
                :func:`~nf_mnist.data.evaluation_noise`.

        Returns:
            x in the default dtype, shape of the levels, and log q(x | levels) in nats, shape (batch,).
        """


class UniformDequantizer(Dequantizer):
    """``x = (v + u) / 256`` with ``u = (k + 1/2) / 2^15``.

    This is exact in float32 and strictly inside (0, 1), whereas ``v + rand()`` can round up to the next level.
    """

    is_discrete = True
    unit = "log-likelihood of the 8-bit image"
    logit_unit = "log-likelihood without the logit's log-determinant (not of the 8-bit image)"

    def forward(self, levels: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        x = unit_interval(noise).add_(levels).div_(256)
        return x, x.new_full((len(x),), x[0].numel() * math.log(256))


class VariationalDequantizer(UniformDequantizer):
    """``x = (v + u) / 256`` with u from a learned distribution q(u | v) (Ho et al. 2019, "Flow++", section 3.1).

    The logits of uniform noise go through a flow that is conditioned on the image, and then through a sigmoid. The
    result keeps a distance of ``MARGIN`` from 0 and 1, so that x does not round up to the next level. For any flow, the
    mean of ``log p(x) - log q(x | v)`` is a lower bound of log P(v); a better flow makes it tighter.

    Args:
        bijector: The flow on the noise, a :class:`~nf_mnist.bijectors.Bijector` of the images' event shape. Its context
            is the image, with levels scaled to [-1, 1].
    """

    MARGIN = 2.0**-16

    def __init__(self, bijector: nn.Module) -> None:
        super().__init__()
        self.bijector = bijector

    def forward(self, levels: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        uniform = unit_interval(noise).logit()
        learned, log_det = self.bijector(uniform, levels.to(uniform.dtype) / 127.5 - 1)
        x = (levels + self.MARGIN + (1 - 2 * self.MARGIN) * learned.sigmoid()) / 256
        log_width = math.log((1 - 2 * self.MARGIN) / 256)
        log_q = _log_logistic(uniform) - _log_logistic(learned) - log_width
        return x, log_q.flatten(1).sum(1) - log_det


class NoDequantizer(Dequantizer):
    """``x = v / 255``: no dequantization. The density on isolated points has no upper bound and is not a likelihood.

    This was a mistake in the diary, the notes of a student whose flow did not work. It is kept to show its effect.
    """

    is_discrete = False
    unit = "log-density of undithered levels (unbounded, not a likelihood)"
    logit_unit = "log-density of undithered levels without the logit's log-determinant (unbounded, not a likelihood)"

    def forward(self, levels: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        x = levels.to(torch.get_default_dtype()) / 255
        return x, x.new_zeros(len(x))


class CP3Dequantizer(Dequantizer):
    """CP3's protocol: ``v / 255 + u / 256``, then each image rescaled from its own extremes to [1e-4, 1 - 1e-4].

    CP3 is a simplified Real NVP known to us only from its authors' report. The rescaling differs from image to image,
    so it is not a fixed bijection and bits per dimension are not defined.
    """

    is_discrete = False
    unit = "log-likelihood of CP3's data, logit counted"
    logit_unit = "log-likelihood in logit space, CP3's protocol"
    margin = 1e-4

    def forward(self, levels: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        x = levels / 255 + unit_interval(noise) / 256
        low, high = (extreme[:, None, None, None] for extreme in torch.aminmax(x.flatten(1), dim=1))
        x = self.margin + (1 - 2 * self.margin) * (x - low) / (high - low)
        return x, x.new_zeros(len(x))


class GaussianDequantizer(Dequantizer):
    """``x = (v + 1/2) / 256`` plus Gaussian noise, the training noise of TarFlow (Zhai et al. 2024, section 2.4).

    The noise reaches beyond the level, so this is the density of noisy images and has no bits per dimension. Samples
    are noisy as well; :meth:`~nf_mnist.flows.Flow.denoise` removes the noise. Each number is a quantile of one of 2^15
    probabilities, so none is further than 4.2 standard deviations from 0.

    Args:
        noise_std: Standard deviation in the unit of x, where images span [0, 1].

    Raises:
        ConfigError: If it is not above 0.
    """

    is_discrete = False
    is_in_unit_interval = False
    unit = "log-density of images with Gaussian noise (not a likelihood of the 8-bit image)"
    logit_unit = "log-density of images with Gaussian noise without the logit's log-determinant"

    def __init__(self, noise_std: float) -> None:
        super().__init__()
        if not noise_std > 0:
            raise ConfigError(f"data.noise_std must be above 0, got {noise_std}; data.dequantizer=uniform adds no more")
        self.noise_std = noise_std

    def forward(self, levels: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        normal = torch.special.ndtri(unit_interval(noise))
        x = (levels + 0.5) / 256 + self.noise_std * normal
        return x, x.new_zeros(len(x))


DEQUANTIZERS: dict[str, type[Dequantizer]] = {
    "uniform": UniformDequantizer,
    "none": NoDequantizer,
    "cp3": CP3Dequantizer,
    "gaussian": GaussianDequantizer,
}


def to_levels(x: Tensor) -> Tensor:
    """Return the uint8 levels of images in [0, 1], the inverse of uniform dequantization; other values are clipped."""
    return (x * 256).floor().clamp(0, 255).to(torch.uint8)


def _log_logistic(y: Tensor) -> Tensor:
    """Return the log-density of standard logistics at y, which is also the logarithm of the sigmoid's slope."""
    return F.logsigmoid(y) + F.logsigmoid(-y)
