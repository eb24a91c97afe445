"""Rational-quadratic spline couplings (Durkan et al. 2019, "Neural spline flows")."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nf_mnist.bijectors.coupling import MaskedCoupling
from nf_mnist.errors import ConfigError

# Lower bounds that keep splines invertible in float32: on a bin's share of the interval and on slopes at knots.
SMALLEST_SHARE = 1e-3
SMALLEST_SLOPE = 1e-3
SLOPE_ONE = math.log(math.expm1(1 - SMALLEST_SLOPE))  # SMALLEST_SLOPE + softplus(SLOPE_ONE) = 1


class Bin(NamedTuple):
    """The part of a spline between two knots: left and bottom sides, width, height, and the slopes at both ends."""

    left: Tensor
    bottom: Tensor
    width: Tensor
    height: Tensor
    slope_left: Tensor
    slope_right: Tensor

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map x in this bin; return z and the logarithm of the slope at x (section 3.1)."""
        share, mean_slope = (x - self.left) / self.width, self.height / self.width
        mixed = share * (1 - share)
        denominator = mean_slope + (self.slope_left + self.slope_right - 2 * mean_slope) * mixed
        z = self.bottom + self.height * (mean_slope * share.square() + self.slope_left * mixed) / denominator
        slopes = self.slope_right * share.square() + 2 * mean_slope * mixed + self.slope_left * (1 - share).square()
        return z, 2 * mean_slope.log() + slopes.log() - 2 * denominator.log()

    def inverse(self, z: Tensor) -> Tensor:
        """Return the x that is mapped to z in this bin (appendix A)."""
        rise, mean_slope = z - self.bottom, self.height / self.width
        bend = rise * (self.slope_left + self.slope_right - 2 * mean_slope)
        a = self.height * (mean_slope - self.slope_left) + bend
        b = self.height * self.slope_left - bend
        c = -mean_slope * rise
        # This form of the root adds numbers of one sign; the textbook form subtracts them and loses digits.
        share = 2 * c / (-b - (b.square() - 4 * a * c).clamp(min=0).sqrt())
        return self.left + share * self.width


class Spline(NamedTuple):
    """Knots (x, z) of monotone maps and the slopes at them, shape (n_bins + 1, batch, *event) each."""

    x: Tensor
    z: Tensor
    slope: Tensor

    @classmethod
    def from_parameters(cls, parameters: Tensor, n_bins: int, bound: float) -> "Spline":
        """Build splines from a network's predictions.

        Args:
            parameters: Raw widths, heights and slopes at inner knots, shape (3 n_bins - 1, batch, *event).
            n_bins: Number of bins.
            bound: Knots lie in [-bound, bound].
        """
        widths, heights, slopes = parameters.split([n_bins, n_bins, n_bins - 1])
        one = torch.ones_like(parameters[:1])
        slopes = torch.cat([one, SMALLEST_SLOPE + F.softplus(slopes + SLOPE_ONE), one])
        return cls(_knots(widths, bound), _knots(heights, bound), slopes)

    def bin_of(self, value: Tensor, knots: Tensor) -> Bin:
        """Return the bin that each value lies in, among knots that are either this spline's x or its z."""
        left = (value >= knots[1:-1]).sum(0, keepdim=True)

        def ends(numbers: Tensor) -> tuple[Tensor, Tensor]:
            return numbers.gather(0, left)[0], numbers.gather(0, left + 1)[0]

        (x, next_x), (z, next_z), slopes = ends(self.x), ends(self.z), ends(self.slope)
        return Bin(x, z, next_x - x, next_z - z, *slopes)


class SplineMap:
    """Monotone splines of single elements, with their knots predicted by a network.

    Inside [-bound, bound] a spline is a quotient of quadratics on each bin; outside it is the identity ("linear tails",
    section 3.1). Its inverse is the root of a quadratic, in closed form.

    Args:
        n_bins: Number of bins.
        bound: Absolute value at which the tails begin.

    Attributes:
        n_parameters: Number of parameters of an element; zeros give the identity.

    Raises:
        ConfigError: If there are no bins, or 1000 or more, or the bound is not positive and finite.
    """

    def __init__(self, n_bins: int, bound: float) -> None:
        if not 1 <= n_bins < 1 / SMALLEST_SHARE or not 0 < bound < math.inf:
            raise ConfigError(
                f"a spline needs 1 to 999 bins and a bound above 0 that is finite, got {n_bins} and {bound}"
            )
        self.n_bins, self.bound, self.n_parameters = n_bins, bound, 3 * n_bins - 1

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Map elements; return z and log|dz/dx| of each, in nats, of the shape of x.

        Args:
            x: Elements, shape (batch, *event).
            parameters: Parameters of their splines, shape (n_parameters, batch, *event).
        """
        spline, inside = self._spline(parameters), self._inside(x)
        z, log_slope = spline.bin_of(inside, spline.x).forward(inside)
        is_bent = x.abs() < self.bound
        return torch.where(is_bent, z, x), torch.where(is_bent, log_slope, 0.0)

    def inverse(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Map elements back; return x and log|dx/dz| of each, in nats, of the shape of z; see :meth:`forward`."""
        spline, inside = self._spline(parameters), self._inside(z)
        one_bin = spline.bin_of(inside, spline.z)
        x = one_bin.inverse(inside)
        is_bent = z.abs() < self.bound
        return torch.where(is_bent, x, z), -torch.where(is_bent, one_bin.forward(x)[1], 0.0)

    def _spline(self, parameters: Tensor) -> Spline:
        return Spline.from_parameters(parameters, self.n_bins, self.bound)

    def _inside(self, values: Tensor) -> Tensor:
        return values.clamp(-self.bound, self.bound)


class SplineCoupling(MaskedCoupling):
    """Transform the masked-out elements by monotone splines whose knots are predicted from the kept ones.

    Args:
        mask: Shape (*event), 1 where the input passes unchanged.
        net: Maps the kept elements, shape (batch, channels, ...), to ``3 n_bins - 1`` times as many channels; an output
            of zeros gives the identity.
        n_bins: Number of bins.
        bound: Absolute value at which the tails begin.

    Raises:
        ConfigError: If ``n_bins`` or ``bound`` is out of range; see :class:`SplineMap`.
    """

    def __init__(self, mask: Tensor, net: nn.Module, n_bins: int, bound: float) -> None:
        super().__init__(mask)
        self.net, self.spline = net, SplineMap(n_bins, bound)

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._unmasked(x, *self.spline.forward(x, self._parameters_given(x, context)))

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self._unmasked(z, *self.spline.inverse(z, self._parameters_given(z, context)))

    def _parameters_given(self, values: Tensor, context: Tensor | None) -> Tensor:
        parameters = self._predicted_by(self.net, values, context)
        return parameters.unflatten(1, (self.spline.n_parameters, values.shape[1])).transpose(0, 1)

    def _unmasked(self, values: Tensor, mapped: Tensor, log_slope: Tensor) -> tuple[Tensor, Tensor]:
        """Return mapped values, but the kept ones as they are, and the log-determinant."""
        is_mapped = self.mask == 0
        return torch.where(is_mapped, mapped, values), torch.where(is_mapped, log_slope, 0.0).flatten(1).sum(1)


def _knots(raw: Tensor, bound: float) -> Tensor:
    """Return increasing knots from -bound to bound, given unnormalized log-distances between them."""
    shares = SMALLEST_SHARE + (1 - SMALLEST_SHARE * len(raw)) * raw.softmax(0)
    end = torch.full_like(raw[:1], bound)
    return torch.cat([-end, bound * (2 * shares[:-1].cumsum(0) - 1), end])
