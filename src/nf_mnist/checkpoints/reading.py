"""Reading checkpoints: tensors and plain values only, so that an untrusted file cannot run code."""

import pickle
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nf_mnist.checkpoints.old_names import current_config, current_parameter
from nf_mnist.checkpoints.pretrained import checkpoint_path
from nf_mnist.errors import CheckpointError, first_line

FLOW_PREFIX, DEQUANTIZER_PREFIX, CLASSIFIER_PREFIX = "flow.", "dequantizer.", "classifier."
PLACES_IN_A_FOLDER = ("checkpoints/best.ckpt", "best.ckpt", "checkpoints/last.ckpt", "last.ckpt")


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of nf_mnist with torch's restricted unpickler.

    Args:
        path: A file, or ``pretrained:NAME`` for released weights.

    Returns:
        The dict that was saved, with settings under their present names. It has at least ``state_dict`` and ``config``.

    Raises:
        CheckpointError: If the file is missing, damaged, holds anything but tensors and plain values, or was not
            written by nf_mnist.
    """
    path = checkpoint_path(path)
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path}{_what_is_there(path)}")
    checkpoint = _unpickled(path)
    if not isinstance(checkpoint, dict) or not {"state_dict", "config"} <= checkpoint.keys():
        raise CheckpointError(f"{path} was not written by nf_mnist: it lacks a state_dict or a config")
    state, config = checkpoint["state_dict"], checkpoint["config"]
    if not isinstance(config, dict) or not isinstance(state, Mapping):
        raise CheckpointError(f"{path} was not written by nf_mnist: its state_dict or config is no dict")
    if not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()):
        raise CheckpointError(f"{path} was not written by nf_mnist: its state_dict holds more than tensors")
    return {**checkpoint, "config": current_config(config)}


def _what_is_there(path: Path) -> str:
    """Return what to say about a path that is no file; reading a pipe might never end."""
    if path.is_dir():
        inside = next((path / name for name in PLACES_IN_A_FOLDER if (path / name).is_file()), None)
        return "; it is a folder" if inside is None else f"; it is a folder, in which there is {inside}"
    return "; it is a pipe or a device" if path.exists() else ""


def _unpickled(path: Path) -> Any:
    """Return what a file holds, if that is tensors and plain values."""
    try:
        if zipfile.is_zipfile(path) and (damaged := zipfile.ZipFile(path).testzip()):  # torch checks no checksum
            raise zipfile.BadZipFile(f"the checksum of {damaged} is wrong")
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is refused: it is damaged, or a pickle with more than tensors and plain values, which could run "
            "code; nothing of it was run"
        ) from error
    except Exception as error:  # a damaged file can raise anything in the zip reader and the unpickler
        reason = first_line(error).partition(". ")[0]  # without torch's advice
        raise CheckpointError(f"{path} is truncated or not a checkpoint: {reason}") from error


def load_weights(module: nn.Module, checkpoint: Mapping[str, Any], path: str | Path, prefix: str = FLOW_PREFIX) -> None:
    """Load the weights of a checkpoint under a prefix; nothing is loaded unless every name and shape agrees.

    Args:
        module: The module to load them into.
        checkpoint: The checkpoint, as read.
        path: Its file, for the message.
        prefix: What the names of the module's weights begin with in the checkpoint.

    Raises:
        CheckpointError: If the checkpoint is of another architecture, naming the first difference.
    """
    own = module.state_dict()
    state = {
        current_parameter(name.removeprefix(prefix), own): value
        for name, value in checkpoint["state_dict"].items()
        if name.startswith(prefix)
    }
    for prefix_here, part in module.named_modules():
        if (adapt := getattr(part, "adapt_weights", None)) is not None:
            _adapt(adapt, f"{prefix_here}." if prefix_here else "", state)
    check_weights(module.state_dict(), state, path)  # which may have other shapes by now
    module.load_state_dict(state)


def check_weights(own: Mapping[str, Tensor], state: Mapping[str, Tensor], path: str | Path) -> None:
    """Check that weights can be loaded: every name, shape and kind agrees.

    Args:
        own: The weights of a module, by name.
        state: Those to load.
        path: The file that they are from, for the message.

    Raises:
        CheckpointError: Naming the first difference.
    """
    for name in {**own, **state}:
        _check_weight(name, own.get(name), state.get(name), path)


def _adapt(adapt: Callable[[dict[str, Tensor]], None], prefix: str, state: dict[str, Tensor]) -> None:
    """Let a part of a module change the weights under its prefix, such as those of an earlier form of it."""
    weights = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
    adapt(weights)
    state.update({prefix + key: value for key, value in weights.items()})


def _check_weight(name: str, here: Tensor | None, there: Tensor | None, path: str | Path) -> None:
    """Check that the weight of a checkpoint, ``there``, can be loaded into that of a model, ``here``."""
    if there is not None and not is_dense(there):
        raise CheckpointError(f"{path} is damaged or foreign: {name} is no dense tensor of numbers")
    if here is None or there is None or here.shape != there.shape:
        raise CheckpointError(
            f"{path} holds another architecture: {name} is {_shape(here)} in this model and {_shape(there)} in the "
            "checkpoint; use the model and sizes it was trained with"
        )
    if there.dtype != here.dtype and not (there.is_floating_point() and here.is_floating_point()):
        raise CheckpointError(
            f"{path} is damaged or foreign: {name} is no dense tensor of {here.dtype} but of {there.dtype}"
        )


def is_dense(tensor: Tensor) -> bool:
    """Return whether a tensor holds a number for each of its entries; a file may hold sparse and quantized ones."""
    return tensor.layout == torch.strided and not (tensor.is_meta or tensor.is_quantized or tensor.is_nested)


def _shape(tensor: Tensor | None) -> str:
    return "absent" if tensor is None else f"of shape {tuple(tensor.shape)}"
