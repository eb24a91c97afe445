"""Invertible maps that were written without nf_mnist, as flows."""

from typing import Any

import torch
from torch import Tensor, nn

from nf_mnist.bijectors import Bijector, Shape
from nf_mnist.diagnostics.access.isolation import copied
from nf_mnist.flows import Flow


class ExternalBijector(Bijector):
    """Any object with ``forward_and_log_det(x)`` and ``inverse_and_log_det(z)``, as a bijector with a flat latent.

    Args:
        inner: The object.
        latent_shape: Shape of one of its latents.
    """

    def __init__(self, inner: Any, latent_shape: Shape) -> None:
        super().__init__()
        self.inner, self.latent_shape = inner, latent_shape

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z, log_det = self.inner.forward_and_log_det(x)
        return z.flatten(1), log_det

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.inner.inverse_and_log_det(z.reshape(len(z), *self.latent_shape))


def as_flow(built: Any, event_shape: Shape) -> Flow:
    """Return a flow unchanged, and any other invertible map as a flow with a standard normal base.

    Args:
        built: A :class:`~nf_mnist.flows.Flow`, or an object with ``forward_and_log_det`` and ``inverse_and_log_det``.
        event_shape: Shape of one image.

    Returns:
        The flow, in evaluation mode.
    """
    if not isinstance(built, Flow):
        if isinstance(built, nn.Module):
            built.eval()
        built = Flow(ExternalBijector(built, _latent_shape(built, event_shape)), event_shape)
    return built.eval()


@torch.no_grad()
def _latent_shape(built: Any, event_shape: Shape) -> Shape:
    """Return the shape of a latent; that of an image if the map raises, which the check of shapes reports.

    A copy is called, since a layer may initialize itself by the first batch.
    """
    try:
        z, _ = copied(built).forward_and_log_det(torch.full((2, *event_shape), 0.5))
        return tuple(z.shape[1:])
    except Exception:  # a user's map may fail in any way
        return tuple(event_shape)
