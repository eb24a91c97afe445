"""Invertible residual blocks with an unbiased log-determinant (Chen et al. 2019, "Residual flows")."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from nf_mnist.bijectors.base import Bijector
from nf_mnist.bijectors.vector_jacobian import random_signs, vector_jacobian
from nf_mnist.errors import NotInvertibleError, check_range

CONTINUATION = 0.5  # probability of one more term of a series
CHUNK = 64  # rows of the Jacobian at a time
ROUNDING = 100.0  # residual of an inverse that has converged, at most, in units of the last digit


class Contraction(Protocol):
    """A network with a Lipschitz constant below 1, such as :class:`~nf_mnist.nets.ContractiveNet`."""

    def layers(self) -> list[Tensor]:
        """Return the tensors that the network computes with, made from its parameters once for several calls."""

    def lipschitz_bound(self) -> float:
        """Return a bound of the Lipschitz constant."""

    def __call__(self, x: Tensor, layers: Sequence[Tensor]) -> Tensor:
        """Map events, shape (batch, *event), to events of the same shape."""


class LogDetSeries:
    """The series ``log|det(I + J)| = sum over k of (-1)^(k+1) tr(J^k) / k``, cut off at random without a bias.

    The first terms are always summed. Each further one follows with a fixed probability, and is divided by the
    probability that it is reached: a Russian roulette (Chen et al. 2019, equations 6 and 7). Traces are estimated by
    random signs v, ``tr(A) = E[v' A v]`` (Hutchinson 1990).

    Args:
        n_terms: Number of terms that are always summed in training.
        n_evaluation_terms: The same in evaluation, where estimates should vary less.

    Raises:
        SettingError: If a number of terms is negative.
    """

    def __init__(self, n_terms: int, n_evaluation_terms: int) -> None:
        check_range(0, n_terms=n_terms, n_evaluation_terms=n_evaluation_terms)
        self.n_terms, self.n_evaluation_terms = n_terms, n_evaluation_terms

    def draw_factors(self, is_training: bool) -> list[float]:
        """Draw where the series ends; return the factor of each term, one over the probability that it is reached."""
        n_sure = self.n_terms if is_training else self.n_evaluation_terms
        n_more = math.floor(math.log(1 - torch.rand(()).item()) / math.log(CONTINUATION))
        return [1.0] * n_sure + [CONTINUATION**-k for k in range(1, n_more + 1)]


class InvertibleResidual(Bijector):
    """``z = x + g(x)`` with a contractive network g; the inverse is a fixed-point iteration.

    With a series, log-determinants are estimates, another one in each call, from the global random state. Their mean
    is exact, and so is that of their gradients, whatever the weights of the events in the loss. The gradient is a
    series of its own, ``tr((I + J)^-1 dJ)``, of which one vector is kept, however many terms there are (Chen et al.
    2019, equation 8). With :attr:`recompute`, nothing is kept but x and two vectors of its size, and the backward pass
    calls the network once more. Without a series, log-determinants are exact and take as many backward passes of the
    network as an event has elements.

    Args:
        net: The network g.
        series: How the log-determinant is estimated; None for the exact one.
    """

    def __init__(self, net: nn.Module, series: LogDetSeries | None) -> None:
        super().__init__()
        self.net, self.series = net, series

    @property
    def contraction(self) -> Contraction:
        """The network."""
        return cast(Contraction, self.net)

    def forward(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.forward_and_log_det(x, context)

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._map(x, self.contraction.layers())

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map latent to data.

        Raises:
            NotInvertibleError: If the iteration does not converge, so that g is no contraction.
        """
        with torch.autocast(z.device.type, enabled=False):
            layers = self.contraction.layers()
            x = self._solve(z, layers)
            return x, -self._map(x, layers)[1]

    def lipschitz_bound(self) -> float:
        return self.contraction.lipschitz_bound()

    @property
    def estimates_log_det(self) -> bool:
        return self.series is not None

    def _map(self, x: Tensor, layers: list[Tensor]) -> tuple[Tensor, Tensor]:
        if self.series is None:
            return _exact(self.net, x, layers)
        probe = random_signs(x)
        factors = self.series.draw_factors(self.training)
        if self.recompute and torch.is_grad_enabled():
            return _Recomputed.apply(self.net, factors, probe, x, *layers)
        return _estimated(self.net, factors, probe, x, layers)

    def _solve(self, z: Tensor, layers: list[Tensor]) -> Tensor:
        """Iterate ``x = z - g(x)`` as long as the residual shrinks, which ends in rounding (Behrmann et al. 2019)."""
        x, size, n_steps = z, math.inf, 0
        while True:
            following = z - self.net(x, layers)
            residual = (following - x).detach()
            previous, size = size, residual.flatten(1).norm(dim=1).max().item()
            if not size < previous:
                break
            x, n_steps = following, n_steps + 1
        largest = residual.abs().max().item()
        allowed = ROUNDING * torch.finfo(z.dtype).eps * max(1.0, z.detach().abs().max().item())
        if largest > allowed:
            raise NotInvertibleError(
                f"the inverse of a residual block came to a residual of {largest:.2g} in {n_steps} steps and no "
                f"further, {allowed:.2g} was wanted: its network is no contraction; lower its coefficient"
            )
        return x


def _exact(net: nn.Module, x: Tensor, layers: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Return x + g(x) and its log-determinant from the whole Jacobian."""
    dims = x[0].numel()
    y, pull = vector_jacobian(lambda value: net(value, layers), x)
    unit = torch.eye(dims, dtype=x.dtype, device=x.device)
    cotangents = unit.reshape(dims, 1, *x.shape[1:]).expand(dims, *x.shape)
    (rows,) = torch.func.vmap(pull, chunk_size=CHUNK)(cotangents)
    return x + y, torch.linalg.slogdet(unit + rows.flatten(2).transpose(0, 1)).logabsdet


def _estimated(
    net: nn.Module, factors: Sequence[float], probe: Tensor, x: Tensor, layers: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Return x + g(x) and the estimate of its log-determinant, whose gradient is that of another estimate."""
    y, pull = vector_jacobian(lambda value: net(value, layers), x)
    log_det, row = _sums(pull, factors, probe)
    if torch.is_grad_enabled():
        slope = _per_event(pull(row)[0] * probe)
        log_det = log_det + (slope - slope.detach())
    return x + y, log_det


@torch.no_grad()
def _sums(pull: Callable[..., Any], factors: Sequence[float], probe: Tensor) -> tuple[Tensor, Tensor]:
    """Return the series of the log-determinant, and that of the row ``v' (I + J)^-1``, which makes its gradient.

    Args:
        pull: Maps u to u'J for each event.
        factors: Factor of each term.
        probe: Random signs v, shape (batch, *event).
    """
    power, row, log_det = probe, probe, probe.new_zeros(len(probe))
    for k, factor in enumerate(factors, 1):
        (power,) = pull(power)
        signed = factor if k % 2 else -factor
        log_det = log_det + signed / k * _per_event(power * probe)
        row = row - signed * power
    return log_det, row


def _per_event(values: Tensor) -> Tensor:
    return values.flatten(1).sum(1)


class _Recomputed(torch.autograd.Function):
    """:func:`_estimated`, of which the backward pass computes the network anew instead of keeping its activations."""

    @staticmethod
    def forward(
        ctx: Any, net: nn.Module, factors: Sequence[float], probe: Tensor, x: Tensor, *layers: Tensor
    ) -> tuple[Tensor, Tensor]:
        device = x.device.type
        ctx.net = net
        ctx.autocast = torch.get_autocast_dtype(device), torch.is_autocast_enabled(device)
        y, pull = vector_jacobian(lambda value: net(value, layers), x)
        log_det, row = _sums(pull, factors, probe)
        ctx.save_for_backward(probe, row, x, *layers)
        return x + y, log_det

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        of_z, of_log_det = gradients
        probe, row, *inputs = ctx.saved_tensors
        dtype, enabled = ctx.autocast
        with torch.enable_grad(), torch.autocast(probe.device.type, dtype, enabled):
            x, *layers = (value.detach().requires_grad_() for value in inputs)
            y, pull = vector_jacobian(lambda value: ctx.net(value, layers), x)
            weighted = row * of_log_det.reshape(-1, *[1] * (x.ndim - 1))
            slope = (pull(weighted)[0] * probe).sum()
            found = torch.autograd.grad((x + y, slope), (x, *layers), (of_z, torch.ones_like(slope)))
        return None, None, None, *found
