"""Masked autoregressive maps (Papamakarios et al. 2017, "Masked autoregressive flow for density estimation")."""

from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from nf_mnist.bijectors.base import Bijector
from nf_mnist.bijectors.coupling import ScaleFunction, scale_function
from nf_mnist.errors import ConfigError


class ElementMap(Protocol):
    """A monotone map of single elements, such as :class:`AffineMap` or :class:`~nf_mnist.bijectors.SplineMap`."""

    n_parameters: int

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Map elements, shape (...), by parameters, shape (n_parameters, ...); return z and log|dz/dx| of each."""

    def inverse(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Map elements back; return x and log|dx/dz| of each."""


class AffineMap:
    """The map ``z = (x - mu) exp(-alpha)`` of single elements (Papamakarios et al. 2017, equations 3 to 5).

    Args:
        scale_activation: Function that bounds alpha, or its name; see :class:`~nf_mnist.bijectors.AffineCoupling`.

    Raises:
        ConfigError: If there is no function of this name.
    """

    n_parameters = 2

    def __init__(self, scale_activation: str | ScaleFunction) -> None:
        self.scale_activation = scale_function(scale_activation)

    def forward(self, x: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Map elements; return z and log|dz/dx| of each, in nats, of the shape of x."""
        mu, alpha = parameters[0], self.scale_activation(parameters[1])
        return (x - mu) * (-alpha).exp(), -alpha

    def inverse(self, z: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Map elements back; return x and log|dx/dz| of each, in nats, of the shape of z."""
        mu, alpha = parameters[0], self.scale_activation(parameters[1])
        return z * alpha.exp() + mu, alpha


class MaskedAutoregression(Bijector):
    """Map each element of a flat event by a monotone map whose parameters are predicted from the elements before it.

    From data to latent it takes one pass of the network, from latent to data one step for each element.

    Args:
        order: The elements in the order of prediction, a permutation of 0 .. dims - 1.
        net: Maps events, shape (batch, dims), and the context if there is one, to parameters, shape (batch,
            n_parameters, dims), each from earlier elements only; and has the stepwise predictions of
            :meth:`nf_mnist.nets.MaskedMLP.begin`.
        element_map: The monotone map.

    Raises:
        ConfigError: If the order is no permutation.
    """

    def __init__(self, order: Tensor, net: nn.Module, element_map: ElementMap) -> None:
        super().__init__()
        if sorted(order.tolist()) != list(range(len(order))):
            raise ConfigError(f"the order of {len(order)} elements must be a permutation of 0 .. {len(order) - 1}")
        self.order = order.tolist()
        self.net, self.element_map = net, element_map

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        parameters = self.net(x) if context is None else self.net(x, context)
        z, log_slope = self.element_map.forward(x, parameters.to(x.dtype).transpose(0, 1))
        return z, log_slope.sum(1)

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        prediction = cast(Any, self.net).begin(len(z), context)
        x: list[Tensor] = [z[:, 0]] * len(self.order)
        log_slopes = []
        for element in self.order:
            parameters = prediction.predict(element).to(z.dtype).T
            x[element], log_slope = self.element_map.inverse(z[:, element], parameters)
            prediction.observe(element, x[element])
            log_slopes.append(log_slope)
        return torch.stack(x, 1), torch.stack(log_slopes, 1).sum(1)

    def largest_log_scale(self, raw: float) -> float | None:
        if not isinstance(self.element_map, AffineMap):
            return None
        return self.element_map.scale_activation(torch.tensor([raw])).item()
