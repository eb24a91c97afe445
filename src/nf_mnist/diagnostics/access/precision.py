"""A flow as checks of the map look at it: in float64, and without log-determinants that are drawn at random."""

from typing import Any

import torch
from torch import Tensor, nn

from nf_mnist.diagnostics.access.invertible import Invertible, same
from nf_mnist.diagnostics.access.isolation import copied, seeded
from nf_mnist.flows import Flow

N_SEEDS = 6  # an estimate may draw the number of its terms, and draw the same one twice
OF_A_SOLVER = 1e-2  # relative error of latents that a solver may make, whose steps may depend on estimates
ROUNDING = 1e4  # times the last digit is still rounding, which differs from call to call where threads share a sum


class WithoutLogDet(nn.Module):
    """A bijector whose log-determinants are 0, for rules that look at its maps only.

    Args:
        bijector: The bijector.
    """

    def __init__(self, bijector: Any) -> None:
        super().__init__()
        self.bijector = bijector

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map data to latent."""
        z, _ = self.bijector.forward_and_log_det(x, context)
        return z, x.new_zeros(len(x))

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map latent to data."""
        x, _ = self.bijector.inverse_and_log_det(z, context)
        return x, z.new_zeros(len(z))


def in_float64(flow: Flow) -> Flow:
    """Return a copy in float64 whose parameters need no gradients."""
    flow = copied(flow).double().requires_grad_(False)
    return flow.train().eval()  # which drops what layers keep of their weights in float32


@torch.no_grad()
def differs_by_chance(bijector: Invertible, x: Tensor) -> bool:
    """Return whether the log-determinant depends on the seed of random numbers while the latents do not, or hardly.

    Fresh copies are called, so that what a call leaves behind is not taken for chance.

    Args:
        bijector: The map.
        x: Events, shape (batch, *event).
    """
    outputs = []
    for seed in (0, *range(N_SEEDS)):
        with seeded(seed):
            outputs.append(copied(bijector).forward_and_log_det(x.clone()))
    (z, first), (_, again), *others = outputs
    tolerance = ROUNDING * torch.finfo(first.dtype).eps * (1 + first.nan_to_num(0, 0, 0).abs().max().item())

    def alike(one: Tensor, other: Tensor) -> bool:
        return torch.allclose(one, other, rtol=0, atol=tolerance, equal_nan=True)

    return (
        all(same(z, other_z, OF_A_SOLVER) for other_z, _ in others)
        and alike(first, again)
        and not all(alike(first, other) for _, other in others)
    )
