"""Invertible 1x1 convolutions (Kingma and Dhariwal 2018, "Glow", section 3.2)."""

import torch
from torch import Tensor, nn

from nf_mnist.bijectors.base import Bijector, Shape
from nf_mnist.errors import ShapeError


class InvertibleConv(Bijector):
    """A learned linear map of the channels, the same at each pixel; it generalises a permutation.

    Its matrix is ``P L (U + diag(s))`` with a fixed permutation P, a unit lower triangular L, a strictly upper
    triangular U and a diagonal s of fixed signs (equation 10). The log-determinant is ``height width sum(log|s|)``, and
    the inverse solves two triangular systems. Its initial value is a random rotation from the global random state.

    Args:
        event_shape: (channels, height, width), with at least 2 channels.

    Raises:
        ShapeError: If there are fewer than 2 channels.
    """

    order: Tensor
    sign: Tensor

    def __init__(self, event_shape: Shape) -> None:
        super().__init__()
        channels, *sides = event_shape
        if channels < 2:
            raise ShapeError(f"a 1x1 convolution mixes channels, got {channels}; squeeze the image first")
        self.n_pixels = torch.Size(sides).numel()
        rotation = torch.linalg.qr(torch.randn(channels, channels)).Q
        permutation, lower, upper = torch.linalg.lu(rotation)
        self.register_buffer("order", permutation.argmax(1))
        self.register_buffer("sign", upper.diagonal().sign().to(torch.int8))
        self.lower = nn.Parameter(lower.tril(-1))
        self.upper = nn.Parameter(upper.triu(1))
        self.log_diagonal = nn.Parameter(upper.diagonal().abs().log())

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        lower, upper = self._factors()
        with torch.autocast(x.device.type, enabled=False):  # autocast would round the data to a lower precision
            z = (lower @ upper)[self.order] @ x.flatten(2)
        return z.reshape(x.shape), self._log_det(x)

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        lower, upper = self._factors()
        x = torch.linalg.solve_triangular(lower, z.flatten(2)[:, self.order.argsort()], upper=False, unitriangular=True)
        x = torch.linalg.solve_triangular(upper, x, upper=True)
        return x.reshape(z.shape), -self._log_det(z)

    def _factors(self) -> tuple[Tensor, Tensor]:
        lower = self.lower.tril(-1) + torch.eye(len(self.lower), dtype=self.lower.dtype, device=self.lower.device)
        return lower, self.upper.triu(1) + torch.diag(self.sign * self.log_diagonal.exp())

    def _log_det(self, like: Tensor) -> Tensor:
        return (self.n_pixels * self.log_diagonal.sum()).expand(len(like))
