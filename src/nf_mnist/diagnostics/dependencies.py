"""Which elements of a map depend on which others, and whether they do so in an order."""

import torch
from torch import Tensor

from nf_mnist.diagnostics.invertible import Invertible


def sees_itself(bijector: Invertible, x: Tensor, jacobian: Tensor) -> bool:
    """Return whether elements that are transformed see what they must not: themselves, or one another in a circle.

    The log-determinant of a coupling or of an autoregression is a sum over elements, which is right only if each one is
    transformed given others, and none by way of others given itself. Where the others form no circle, an element that
    sees itself makes both the log-determinant and the inverse wrong. The log-determinant is wrong in either case.

    Args:
        bijector: The map, which breaks a rule.
        x: One event, shape (1, *event).
        jacobian: Its Jacobian, shape (dims, dims).
    """
    depends = _dependencies(jacobian)
    passes = (jacobian.diagonal() == 1) & ~depends.any(1)
    if not depends.any() or passes.all():
        return False
    if not has_wrong_log_det(bijector, x, jacobian):
        return False
    if depend_in_a_circle(jacobian):  # a map without an element that passes and without an order may be of another kind
        return bool(passes.any()) or _is_mostly_ordered(depends)
    with torch.no_grad():
        back, _ = bijector.inverse_and_log_det(bijector.forward_and_log_det(x)[0])
    return bool((back.reshape(x.shape) - x).abs().max() > 1e-6)


@torch.no_grad()
def has_wrong_log_det(bijector: Invertible, x: Tensor, jacobian: Tensor) -> bool:
    """Return whether the log-determinant of an event is not that of its Jacobian; False for estimates.

    Args:
        bijector: The map.
        x: One event, shape (1, *event).
        jacobian: Its Jacobian, shape (dims, dims).
    """
    claimed, again = (bijector.forward_and_log_det(x)[1].sum().item() for _ in range(2))
    exact = torch.linalg.slogdet(jacobian).logabsdet.item()
    return claimed == again and abs(claimed - exact) > 1e-6


def _is_mostly_ordered(depends: Tensor) -> bool:
    """Return whether most elements that depend on another one do so in one direction only, as in an autoregression."""
    return bool((depends ^ depends.T).sum() > 0.5 * (depends | depends.T).sum())


def _dependencies(jacobian: Tensor) -> Tensor:
    """Return which other elements each one depends on, shape (dims, dims); row i is of element i."""
    size = jacobian.abs()
    return (size > 1e-12 * size.max()) & ~torch.eye(len(size), dtype=torch.bool, device=size.device)


def depend_in_a_circle(jacobian: Tensor) -> bool:
    """Return whether an element depends on itself by way of others. A map that computes in an order has none."""
    depends = _dependencies(jacobian)
    reached = depends.double()
    for _ in range(len(depends).bit_length()):
        reached = ((reached + reached @ reached) > 0).double()
    return bool((reached.diagonal() > 0).any())
