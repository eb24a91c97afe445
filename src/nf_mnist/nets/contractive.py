"""Contractive networks: convolutions of bounded spectral norm and LipSwish (Chen et al. 2019, "Residual flows")."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nf_mnist.bijectors import Shape
from nf_mnist.errors import SettingError, check_range

STEEPEST_SWISH = 1.1  # bound of the slope of x * sigmoid(x), which reaches 1.0998
TRAINING_ITERATIONS, THOROUGH_ITERATIONS = 5, 300


class SpectralConv(nn.Module):
    """A convolution with zero padding whose kernel is divided until its spectral norm is at most a coefficient.

    The norm is that of the linear map from images to images, of the size that the network sees, and not that of the
    kernel as a matrix (Gouk et al. 2021; Behrmann et al. 2019, section 2.1). Power iteration estimates it: a few
    iterations in each training step, from the vectors of the step before, and many whenever the mode changes from
    training to evaluation. Weights that were averaged or moved are so normalised anew. Evaluation has vectors of its
    own, so that it changes nothing in the training.

    Args:
        in_channels: Number of channels of the input.
        out_channels: Number of channels of the output.
        kernel_size: Side of the kernel, an odd number.
        sides: Height and width of the images.
        coefficient: Largest spectral norm.

    Raises:
        SettingError: If the coefficient is not between 0 and 1, or the side of the kernel is even.
    """

    left: Tensor
    right: Tensor
    measured_left: Tensor
    measured_right: Tensor

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, sides: Shape, coefficient: float) -> None:
        super().__init__()
        if not 0 < coefficient < 1:
            raise SettingError("coefficient", coefficient, f"must be between 0 and 1, both excluded, got {coefficient}")
        if kernel_size % 2 != 1:
            raise SettingError("kernel_sizes", kernel_size, f"must be odd, got {kernel_size}")
        self.coefficient, self.padding = coefficient, kernel_size // 2
        initial = nn.Conv2d(in_channels, out_channels, kernel_size)
        self.weight, self.bias = initial.weight, initial.bias
        seen = sides if kernel_size > 1 else (1, 1)  # a pointwise map has the same norm on one pixel
        self.register_buffer("left", _unit(torch.randn(1, out_channels, *seen)))
        self.register_buffer("right", _unit(torch.randn(1, in_channels, *seen)))
        self.register_buffer("measured_left", self.left.clone(), persistent=False)
        self.register_buffer("measured_right", self.right.clone(), persistent=False)

    def kernel(self) -> Tensor:
        """Return the normalised kernel; in training, improve the estimate of its norm first."""
        if self.training:
            left, right = self._iterated(TRAINING_ITERATIONS)
            self.left.copy_(left)
            self.right.copy_(right)
        return self.weight / (self.norm() / self.coefficient).clamp(min=1)

    def norm(self) -> Tensor:
        """Return the spectral norm of the weights before they are normalised, as it was last estimated."""
        left, right = (self.left, self.right) if self.training else (self.measured_left, self.measured_right)
        with torch.autocast(self.weight.device.type, enabled=False):
            return (left * F.conv2d(right, self.weight, padding=self.padding)).sum()

    def train(self, mode: bool = True) -> "SpectralConv":
        """Set the mode; if training ends, measure the norm of the present weights thoroughly."""
        is_end = self.training and not mode
        super().train(mode)
        if is_end:
            self._measure()
        return self

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        if not self.training:
            self._measure()

    def _measure(self) -> None:
        left, right = self._iterated(THOROUGH_ITERATIONS)
        self.measured_left.copy_(left)
        self.measured_right.copy_(right)

    @torch.no_grad()
    def _iterated(self, n: int) -> tuple[Tensor, Tensor]:
        """Return the vectors of training after n power iterations towards those of the largest singular value."""
        left, right = self.left, self.right
        with torch.autocast(self.weight.device.type, enabled=False):
            for _ in range(n):
                left = _unit(F.conv2d(right, self.weight, padding=self.padding))
                right = _unit(F.conv_transpose2d(left, self.weight, padding=self.padding))
        return left, right


def _unit(vector: Tensor) -> Tensor:
    """Return a tensor of norm 1."""
    return F.normalize(vector.flatten(), dim=0).reshape(vector.shape)


class ContractiveNet(nn.Module):
    """LipSwish and convolution in turns, a network whose Lipschitz constant is below 1.

    LipSwish is ``x sigmoid(b x) / 1.1`` with a learned b > 0, whose slope is at most 1 (Chen et al. 2019, section 4).
    It comes before each convolution. On flat events the network has linear layers: convolutions of a single pixel.

    Args:
        event_shape: (channels, height, width) or (dims,) of input and output.
        hidden_channels: Number of channels between the convolutions.
        kernel_sizes: Sides of the kernels, such as (3, 1, 3).
        coefficient: Largest spectral norm of each convolution, below 1.
    """

    def __init__(
        self, event_shape: Shape, hidden_channels: int, kernel_sizes: Sequence[int], coefficient: float
    ) -> None:
        super().__init__()
        check_range(1, hidden_channels=hidden_channels)
        channels, *sides = event_shape
        self.image_shape = (channels, *(sides or (1, 1)))
        widths = (channels, *[hidden_channels] * (len(kernel_sizes) - 1), channels)
        self.convs = nn.ModuleList(
            SpectralConv(*pair, kernel_size, self.image_shape[1:], coefficient)
            for pair, kernel_size in zip(pairwise(widths), kernel_sizes, strict=True)
        )
        self.raw_steepness = nn.Parameter(torch.full((len(kernel_sizes),), 0.5))  # before its softplus

    def layers(self) -> list[Tensor]:
        """Return what :meth:`forward` multiplies by: the first steepness, then kernel and bias of each convolution.

        LipSwish is ``silu(b x) / (1.1 b)``. Both factors are merged with the kernels, so that an image is only passed
        through a SiLU, which torch computes in one go.
        """
        steepness = F.softplus(self.raw_steepness)
        after = [*steepness[1:], steepness.new_ones(())]
        layers = [steepness[0]]
        for conv, one, following in zip(self._spectral(), steepness, after, strict=True):
            layers += [conv.kernel() * (following / (STEEPEST_SWISH * one)), conv.bias * following]
        return layers

    @torch.no_grad()
    def lipschitz_bound(self) -> float:
        """Return a bound of the Lipschitz constant: the product of the spectral norms."""
        return math.prod(min(conv.norm().item(), conv.coefficient) for conv in self._spectral())

    def _spectral(self) -> list[SpectralConv]:
        return [cast(SpectralConv, conv) for conv in self.convs]

    def forward(self, x: Tensor, layers: Sequence[Tensor]) -> Tensor:
        """Map events to events of the same shape.

        Args:
            x: Events, shape (batch, *event_shape).
            layers: What :meth:`layers` returned.
        """
        hidden = x.reshape(len(x), *self.image_shape) * layers[0]
        for kernel, bias in zip(layers[1::2], layers[2::2], strict=True):
            hidden = F.conv2d(F.silu(hidden), kernel, bias, padding=kernel.shape[-1] // 2)
        return hidden.reshape(x.shape).to(x.dtype)
