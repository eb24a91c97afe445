"""Products of vectors with the Jacobian of a function, from one backward pass each, and random vectors for them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

PullBack = Callable[[Tensor], tuple[Tensor]]


def vector_jacobian(function: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, PullBack]:
    """Return f(x), and a function from a tensor u of its shape to the product of u with the Jacobian of f at x.

    Args:
        function: Maps events, shape (batch, *event), to events of the same shape.
        x: The events.
    """
    found: Any = torch.func.vjp(function, x)  # its type has three parts, of which one comes with has_aux only
    return found


def random_signs(like: Tensor) -> Tensor:
    """Return independent signs, 1 or -1, shape of ``like``: with them ``v' A v`` estimates the trace of A without bias.

    Hutchinson 1990, "A stochastic estimator of the trace of the influence matrix".
    """
    return torch.randint_like(like, 2) * 2 - 1
