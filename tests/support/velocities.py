"""Velocity fields for tests of continuous flows."""

import torch
from torch import Tensor, nn

from nf_mnist.bijectors import Shape


class LinearVelocity(nn.Module):
    """The velocity ``A x``, whose solution after a unit of time is ``exp(A) x``."""

    def __init__(self, matrix: Tensor) -> None:
        super().__init__()
        self.matrix = matrix

    def forward(self, state: Tensor, time: Tensor, context: Tensor | None = None) -> Tensor:
        return state @ self.matrix.T


class SmallVelocity(nn.Module):
    """A smooth velocity field of flat events or images, which four steps of a solver integrate to rounding errors."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        dims = torch.Size(shape).numel()
        self.hidden, self.last = nn.Linear(dims + 1, 8), nn.Linear(8, dims)

    def forward(self, state: Tensor, time: Tensor, context: Tensor | None = None) -> Tensor:
        hidden = self.hidden(torch.cat([state.flatten(1), time[:, None]], 1) / 8).tanh()
        return self.last(hidden).reshape(state.shape) / 8


class PerceptronVelocity(nn.Module):
    """A velocity field of images that learns in a few seconds."""

    def __init__(self, shape: Shape, features: int = 32) -> None:
        super().__init__()
        dims = torch.Size(shape).numel()
        self.hidden, self.last = nn.Linear(dims + 1, features), nn.Linear(features, dims)

    def forward(self, state: Tensor, time: Tensor, context: Tensor | None = None) -> Tensor:
        hidden = self.hidden(torch.cat([state.flatten(1) / 4, time[:, None]], 1)).tanh()
        return self.last(hidden).reshape(state.shape)


class GaussianVelocity(nn.Module):
    """The velocity of straight paths from N(0, std^2) to N(0, 1), in closed form.

    With ``s = (1 - t) x + t e``, ``E[e - x given s] = (t - (1 - t) std^2) / ((1 - t)^2 std^2 + t^2) s``.
    """

    def __init__(self, std: float) -> None:
        super().__init__()
        self.std = nn.Parameter(torch.tensor(std, dtype=torch.float64))

    def forward(self, state, time, context=None):
        variance, t = self.std**2, time[:, None, None, None]
        return (t - (1 - t) * variance) / ((1 - t) ** 2 * variance + t**2) * state


class GaussianPairVelocity(nn.Module):
    """The velocity of straight paths from two correlated normal pixels to N(0, 1), in closed form.

    With covariance C, ``E[e - x given s] = (t - (1 - t) C) ((1 - t)^2 C + t^2)^-1 s``.
    """

    def __init__(self, std: float, correlation: float) -> None:
        super().__init__()
        covariance = std**2 * torch.tensor([[1.0, correlation], [correlation, 1.0]], dtype=torch.float64)
        self.register_buffer("covariance", covariance)

    def forward(self, state: Tensor, time: Tensor, context: Tensor | None = None) -> Tensor:
        t, identity = time[0], torch.eye(2, dtype=state.dtype)
        gain = (t * identity - (1 - t) * self.covariance) @ torch.inverse(
            (1 - t) ** 2 * self.covariance + t**2 * identity
        )
        return (state.flatten(1) @ gain.T).reshape(state.shape)
