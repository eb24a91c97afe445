"""The forms that invertible layers have in the usual libraries, and how a layer of each is called in both directions.

- ``forward_and_log_det(x)`` and ``inverse_and_log_det(z)``: this project, and models of normflows.
- ``forward(x)`` and ``inverse(z)`` that return a value and a log-determinant: normflows and nflows.
- ``forward(x, rev=...)`` that takes and returns tuples: FrEIA.
- ``forward(context)`` that returns a transform with ``call_and_ladj(x)`` and ``inv``: zuko.

A transform of zuko is seen where ``call_and_ladj`` runs from data to latent. Which of the two directions of the others
does is told by which one is called when data are encoded.
"""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

Direction = Callable[[Any, Tensor], tuple[Tensor, Tensor]]
Record = Callable[[Tensor, Direction, Direction], None]
PAIRS = (("forward_and_log_det", "inverse_and_log_det"), ("forward", "inverse"))


class Bound(nn.Module):
    """A layer with the further arguments of one of its calls, as a map from data to latent.

    Args:
        owner: The layer.
        to_latent: Calls the layer, its first argument, in the direction from data to latent.
        to_data: Calls the layer in the other direction.
    """

    def __init__(self, owner: nn.Module, to_latent: Direction, to_data: Direction) -> None:
        super().__init__()
        self.owner, self.to_latent, self.to_data = owner, to_latent, to_data

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map data to latent."""
        return self.to_latent(self.owner, x)

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map latent to data."""
        return self.to_data(self.owner, z)


def observed(layer: nn.Module, record: Record) -> Iterator[str]:
    """Replace the methods of a layer by ones that record each call as well, and yield their names.

    Nothing is replaced if the layer has none of the known forms.

    Args:
        layer: The layer. The replaced methods are attributes of the instance, which hide those of the class.
        record: Called with the input of a call, and how to call the layer in the same and in the other direction.
    """
    for pair in PAIRS:
        if all(callable(getattr(layer, name, None)) for name in pair):
            for name, other in (pair, pair[::-1]):
                setattr(layer, name, _recording(getattr(layer, name), name, other, record))
                yield name
            return
    forward = getattr(layer, "forward", None)
    if forward is not None and "rev" in _parameters(forward):
        layer.forward = _recording_of_freia(forward, record)
        yield "forward"
    elif forward is not None and any(base.__module__.partition(".")[0] == "zuko" for base in type(layer).__mro__):
        layer.forward = _recording_of_zuko(forward, record)
        yield "forward"


def _recording(method: Callable[..., Any], name: str, other: str, record: Record) -> Callable[..., Any]:
    def call(x: Any, *args: Any, **kwargs: Any) -> Any:
        given = x.clone() if isinstance(x, Tensor) else x
        returned = method(x, *args, **kwargs)
        if isinstance(given, Tensor) and _is_pair(returned, given):
            record(given, _direction(name, args, kwargs, len(given)), _direction(other, args, kwargs, len(given)))
        return returned

    return call


def _direction(name: str, args: Any, kwargs: Any, n: int) -> Direction:
    def call(layer: Any, value: Tensor) -> tuple[Tensor, Tensor]:
        rows = _rows((args, kwargs), n, len(value))
        returned = getattr(layer, name)(value, *rows[0], **rows[1])
        if not _is_pair(returned, value):
            raise NotImplementedError(f"{type(layer).__name__}.{name} returns no log-determinant beside its value")
        return returned[0], per_event(returned[1], value)

    return call


def _recording_of_freia(forward: Callable[..., Any], record: Record) -> Callable[..., Any]:
    signature = inspect.signature(forward)  # whose arguments, and their order, differ from layer to layer

    def call(values: Any, *args: Any, **kwargs: Any) -> Any:
        given = signature.bind(values, *args, **kwargs).arguments
        returned = forward(values, *args, **kwargs)
        if given.get("jac", True) and all(_is_single(part) for part in (values, returned[0])):
            n, rev, more = len(values[0]), bool(given.get("rev", False)), {"c": given["c"]} if "c" in given else {}
            record(values[0].clone(), _direction_of_freia(more, rev, n), _direction_of_freia(more, not rev, n))
        return returned

    return call


def _is_single(values: Any) -> bool:
    """Return whether values are one tensor in a tuple or a list."""
    return isinstance(values, list | tuple) and len(values) == 1 and isinstance(values[0], Tensor)


def _direction_of_freia(more: dict[str, Any], rev: bool, n: int) -> Direction:
    def call(layer: Any, value: Tensor) -> tuple[Tensor, Tensor]:
        (image,), log_det = layer((value,), **_rows(more, n, len(value)), rev=rev)
        return image, per_event(log_det, value)

    return call


def _recording_of_zuko(forward: Callable[..., Any], record: Record) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        made = forward(*args, **kwargs)
        if hasattr(made, "call_and_ladj"):
            map_ = made.call_and_ladj

            def call_and_ladj(x: Tensor) -> Any:
                returned = map_(x)
                record(x.clone(), _direction_of_zuko(args, False, len(x)), _direction_of_zuko(args, True, len(x)))
                return returned

            made.call_and_ladj = call_and_ladj
        return made

    return call


def _direction_of_zuko(args: Any, is_inverse: bool, n: int) -> Direction:
    def call(layer: Any, value: Tensor) -> tuple[Tensor, Tensor]:
        made = layer(*_rows(args, n, len(value)))
        image, log_det = (made.inv if is_inverse else made).call_and_ladj(value)
        return image, per_event(log_det, value)

    return call


def per_event(log_det: Tensor | float, like: Tensor) -> Tensor:
    """Return a constant or elementwise log-determinant as one of shape (batch,)."""
    if not isinstance(log_det, Tensor):
        return like.new_full((len(like),), log_det)
    return log_det.flatten(1).sum(1) if log_det.dim() > 1 else log_det.expand(len(like))


def _is_pair(returned: Any, x: Tensor) -> bool:
    """Return whether a call returned a value with as many elements as x and what may be a log-determinant."""
    if not isinstance(returned, tuple) or len(returned) != 2 or not isinstance(returned[0], Tensor):
        return False
    value, log_det = returned
    fits = not isinstance(log_det, Tensor) or log_det.dim() == 0 or len(log_det) in (1, len(x))
    return value.numel() == x.numel() and isinstance(log_det, Tensor | float | int) and fits


def _rows(given: Any, n: int, wanted: int) -> Any:
    """Return arguments with the first rows of each tensor that has a row for each of n events."""
    if isinstance(given, Tensor):
        return given[:wanted] if given.dim() and len(given) == n else given
    if isinstance(given, list | tuple):
        return type(given)(_rows(part, n, wanted) for part in given)
    if isinstance(given, dict):
        return {key: _rows(part, n, wanted) for key, part in given.items()}
    return given


def _parameters(function: Callable[..., Any]) -> set[str]:
    try:
        return set(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # functions written in C have none
        return set()
