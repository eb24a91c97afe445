"""The rule that a call leaves no state behind."""

import contextlib
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from nf_mnist.diagnostics.access.invertible import Invertible, same
from nf_mnist.diagnostics.access.isolation import copied, seeded_call
from nf_mnist.diagnostics.access.messages import raised


@torch.no_grad()
def changed_state(bijector: Invertible, x: Tensor) -> str | None:
    """In evaluation mode, a call changes neither parameters nor statistics, nor anything else that later calls use.

    Random numbers are the same in each call, so that they are not taken for something that is kept.
    """
    fresh, used = copied(bijector), copied(bijector)
    before, attributes = _state(used), _attributes(used)
    try:
        z, log_det = _seeded_forward(used, x)
    except Exception:  # the rule of shapes reports it
        return None
    with contextlib.suppress(Exception):
        used.inverse_and_log_det(z.clone())
    after = _state(used)
    changed = [name for name, value in before.items() if not same(value, after[name])]
    if changed:
        return f"a call in evaluation mode changes {', '.join(changed[:3])}"
    kept = [name for name, value in _attributes(used).items() if not _is_kept(value, attributes.get(name))]
    holder = f", which {' and '.join(kept[:3])} may hold" if kept else ""
    fails_afterwards = _fails_after_another_call(fresh, used, x)
    if fails_afterwards:
        return f"a second call {fails_afterwards}, a first one does not: something is kept from call to call{holder}"
    again, later = _seeded_forward(used, x)
    if not same(z, again):
        return f"a second call returns other latents than the first: something is kept from call to call{holder}"
    if log_det.shape == later.shape and not same(log_det, later):
        return f"log-determinants of a second call {_growth(log_det, later)}: something is kept{holder}"
    return None


def _seeded_forward(bijector: Invertible, x: Tensor) -> tuple[Tensor, Tensor]:
    return seeded_call(bijector.forward_and_log_det)(x.clone())


def _state(bijector: Invertible) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in bijector.state_dict().items()} if _is_module(bijector) else {}


def _attributes(bijector: Invertible) -> dict[str, Any]:
    """Return tensors and numbers that modules hold beside parameters and buffers, by name; tensors are copied."""
    found: dict[str, Any] = {}
    for name, module in bijector.named_modules() if _is_module(bijector) else [("", bijector)]:
        for key, value in vars(module).items() if hasattr(module, "__dict__") else ():
            if isinstance(value, Tensor | int | float):
                full_name = f"{name}.{key}".removeprefix(".").removeprefix("bijector.").removeprefix("inner.")
                found[full_name] = value.detach().clone() if isinstance(value, Tensor) else value
    return found


def _is_kept(value: Any, earlier: Any) -> bool:
    if isinstance(value, Tensor) and isinstance(earlier, Tensor):
        return same(value, earlier)
    return type(value) is type(earlier) and value == earlier


def _is_module(bijector: Any) -> TypeGuard[nn.Module]:
    return isinstance(bijector, nn.Module)


def _fails_after_another_call(fresh: Invertible, used: Invertible, x: Tensor) -> str:
    """Say how a call on one event fails after a call on several; empty if it does not, or fails anyway."""
    try:
        _seeded_forward(fresh, x[:1])
    except Exception:  # the rule of shapes reports it
        return ""
    try:
        _seeded_forward(copied(used), x[:1])
    except Exception as error:  # a user's flow may fail in any way
        return raised(error)
    return ""


def _growth(first: Tensor, second: Tensor) -> str:
    if torch.allclose(second, 2 * first, rtol=1e-3):
        return "are twice those of the first, so they add up from call to call"
    return "differ from those of the first"
