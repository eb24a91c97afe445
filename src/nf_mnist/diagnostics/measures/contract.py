"""The rules that every bijector must keep. Each rule returns how a map violates it, in words, or None.

A rule takes any object with ``forward_and_log_det(x)`` and ``inverse_and_log_det(z)``, and events x of shape
(batch, *event).
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from nf_mnist.diagnostics.access.invertible import CACHED, Invertible, same
from nf_mnist.diagnostics.access.isolation import copied, seeded_call
from nf_mnist.diagnostics.access.messages import raised
from nf_mnist.diagnostics.measures.state_rule import changed_state

ROUNDING = 100.0  # times what a move of an input by its last digit makes is still rounding


@torch.no_grad()
def wrong_shapes(bijector: Invertible, x: Tensor) -> str | None:
    """Latents have as many elements as the data, and each event has one log-determinant."""
    z, log_det = bijector.forward_and_log_det(x)
    if z.shape[:1] != x.shape[:1] or z[0].numel() != x[0].numel():
        return f"data {tuple(x.shape)} became latents {tuple(z.shape)}: another number of dimensions"
    if log_det.shape != (len(x),):
        return f"the log-determinant has shape {tuple(log_det.shape)}, not ({len(x)},): sum it over the event"
    back, log_det = bijector.inverse_and_log_det(z)
    if back.shape != x.shape:
        return f"the inverse returns {tuple(back.shape)} for data {tuple(x.shape)}"
    if log_det.shape != (len(x),):
        return f"the inverse's log-determinant has shape {tuple(log_det.shape)}, not ({len(x)},)"
    return None


@torch.no_grad()
def not_finite(bijector: Invertible, x: Tensor) -> str | None:
    """Latents of data, what they decode to, and both log-determinants are finite."""
    z, log_det = bijector.forward_and_log_det(x)
    wrong = _shares_not_finite({"latents": z, "log-determinants": log_det})
    if wrong is not None:
        return wrong
    back, log_det = bijector.inverse_and_log_det(z)
    return _shares_not_finite({"values that the inverse returns": back, "log-determinants of the inverse": log_det})


@torch.no_grad()
def wrong_dtypes(bijector: Invertible, x: Tensor) -> str | None:
    """Outputs for float64 inputs are float64."""
    z, log_det = bijector.forward_and_log_det(x)
    dtypes = {"latents": z.dtype, "log-determinants": log_det.dtype}
    wrong = [f"{name} are {dtype}" for name, dtype in dtypes.items() if dtype != x.dtype]
    return f"data are {x.dtype}, but {' and '.join(wrong)}" if wrong else None


@torch.no_grad()
def written_inputs(bijector: Invertible, x: Tensor) -> str | None:
    """A call does not change its input."""
    passed = x.clone()
    z, _ = bijector.forward_and_log_det(passed)
    if not torch.equal(passed, x):
        return "forward writes to its input"
    kept = z.clone()
    bijector.inverse_and_log_det(z)
    return None if torch.allclose(z, kept, rtol=0, atol=0, equal_nan=True) else "the inverse writes to its input"


@torch.no_grad()
def random_output(bijector: Invertible, x: Tensor, tolerance: float | None = None) -> str | None:
    """The same input always gives the same latents, and the same latents the same data, up to the error of a solver.

    A log-determinant may be an estimate. Other checks then compare its mean.
    """
    z, other_z = (bijector.forward_and_log_det(x)[0] for _ in range(2))
    if not same(z, other_z, tolerance or CACHED):
        return "two calls with the same data differ: something is drawn at random"
    back, other = (bijector.inverse_and_log_det(z)[0] for _ in range(2))
    is_same = same(back, other, tolerance or CACHED)
    return None if is_same else "two inverses of the same latents differ: latents are drawn anew"


@torch.no_grad()
def kept_values(bijector: Invertible, x: Tensor) -> str | None:
    """A call does not depend on earlier calls: it uses no cache of another input.

    Random numbers are the same in each call.
    """
    forward, inverse = seeded_call(bijector.forward_and_log_det), seeded_call(bijector.inverse_and_log_det)
    z, log_det = forward(x)
    back, back_log_det = inverse(z)
    other_z, _ = forward(x.flip(0))
    after, after_log_det = inverse(z)
    if not same(back, after) or not same(back_log_det, after_log_det):
        return "the inverse depends on which data were last mapped forward: it uses what that call left in a cache"
    inverse(other_z)
    after, after_log_det = forward(x)
    if not same(z, after) or not same(log_det, after_log_det):
        return "forward depends on the call before it: it uses what that call left in a cache"
    return None


@torch.no_grad()
def mixed_batch(bijector: Invertible, x: Tensor, tolerance: float | None = None) -> str | None:
    """An event is mapped in the same way alone and in a batch, up to rounding and the error of a solver.

    A sum may be rounded otherwise in a batch. What that makes of latents is told by an input that is moved by its last
    digit.
    """
    z, log_det = copied(bijector).forward_and_log_det(x)
    try:
        alone, its_log_det = copied(bijector).forward_and_log_det(x[:1])
    except Exception as error:  # a user's flow may fail in any way
        return f"one event alone {raised(error)}, while {len(x)} events do not: batch statistics in evaluation mode"
    eps = torch.finfo(x.dtype).eps
    excesses = _excess(z[:1], alone, tolerance or 1e3 * eps), _excess(log_det[:1], its_log_det, tolerance or 1e3 * eps)
    if max(excesses) <= 0:
        return None
    nearby = copied(bijector).forward_and_log_det(x[:1] + 2 * eps)
    if excesses[0] > ROUNDING * (nearby[0] - alone).abs().max():
        return "latents depend on the rest of the batch: batch statistics in evaluation mode"
    if excesses[1] > ROUNDING * (nearby[1] - its_log_det).abs().max():
        return "log-determinants depend on the rest of the batch: averaged over it, or of batch statistics"
    return None


def _excess(one: Tensor, other: Tensor, relative: float) -> float:
    """Return by how much two tensors differ beyond a relative tolerance; 0 if they do not, or if that is NaN."""
    excess = (one - other).abs().max() - relative * (1 + one.abs().max())
    return max(excess.nan_to_num(0.0).item(), 0.0)


@torch.no_grad()
def unequal_log_dets(bijector: Invertible, x: Tensor) -> str | None:
    """The log-determinants of the two directions are negatives of each other."""
    z, log_det = bijector.forward_and_log_det(x)
    _, back = bijector.inverse_and_log_det(z)
    difference = (log_det + back).abs().max().item()
    scale = 1 + log_det.abs().max().item()
    if difference > 1e4 * torch.finfo(x.dtype).eps * scale:
        return f"forward and inverse log-determinants add up to {difference:.3g}, not 0"
    return None


Rule = Callable[[Any, Tensor], str | None]

RULES: dict[str, Rule] = {
    "state is left alone": changed_state,
    "shapes": wrong_shapes,
    "values are finite": not_finite,
    "dtypes": wrong_dtypes,
    "inputs are left alone": written_inputs,
    "same input, same output": random_output,
    "calls are independent": kept_values,
    "events do not mix": mixed_batch,
    "log-determinants of both directions": unequal_log_dets,
}


def violations(bijector: Invertible, x: Tensor) -> Iterator[tuple[str, str | None]]:
    """Yield the name of each rule and how the map violates it, or None. An exception is a violation, too.

    Args:
        bijector: The map, in evaluation mode and in the precision of x.
        x: Two or more events, shape (batch, *event).
    """
    for name, violation in RULES.items():
        try:
            yield name, violation(bijector, x)
        except Exception as error:  # a user's flow may fail in any way, and the other rules must still be tried
            yield name, raised(error)


def _shares_not_finite(values: dict[str, Tensor]) -> str | None:
    """Say which share of the named values is not finite; None if all are finite."""
    shares = {name: 1 - part.isfinite().double().mean().item() for name, part in values.items()}
    wrong = [f"{share:.2g} of the {name}" for name, share in shares.items() if share]
    return f"{' and '.join(wrong)} are not finite" if wrong else None
