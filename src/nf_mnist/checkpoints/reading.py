"""Reading checkpoints: tensors and plain values only, so that a file from a stranger cannot run code."""

import pickle
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nf_mnist.checkpoints.old_names import current_config, current_parameter
from nf_mnist.checkpoints.pretrained import checkpoint_path
from nf_mnist.errors import CheckpointError, ConfigError

FLOW_PREFIX, DEQUANTIZER_PREFIX = "flow.", "dequantizer."
# Of a configuration, what belongs to the machine and the folder of a run, and to nobody who reads its weights.
OF_THE_RUN = ("output_dir", "run_dir", "ckpt", "init_from", "callbacks", "logger")
# What a run keeps from its first step to its last, and of that, what changes no weight: speed, and where images lie.
KEPT = ("seed", "data", "model", "optimizer", "scheduler")
FREE = {"model.channels_last", "model.compile", "model.recompute", "data.eval_batch_size"}
FREE |= {f"data.source.{place}" for place in ("path", "folder", "root")}


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of nf_mnist with torch's restricted unpickler.

    Args:
        path: A file, or ``pretrained:NAME`` for released weights.

    Returns:
        The dict that was saved, with today's names of settings; it has at least ``state_dict`` and ``config``.

    Raises:
        CheckpointError: If the file is missing, damaged, holds anything but tensors and plain values, or was not
            written by nf_mnist.
    """
    path = checkpoint_path(path)
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint {path}")
    try:
        if zipfile.is_zipfile(path) and (
            damaged := zipfile.ZipFile(path).testzip()
        ):  # torch does not look at checksums
            raise zipfile.BadZipFile(f"the checksum of {damaged} is wrong")
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} is refused: it is damaged, or a pickle with more than tensors and plain values, which could run "
            "code; nothing of it was run"
        ) from error
    except Exception as error:  # a damaged file can raise anything in the zip reader and the unpickler
        raise CheckpointError(f"{path} is truncated or not a checkpoint: {_first_line(error)}") from error
    if not isinstance(checkpoint, dict) or not {"state_dict", "config"} <= checkpoint.keys():
        raise CheckpointError(f"{path} was not written by nf_mnist: it lacks a state_dict or a config")
    state, config = checkpoint["state_dict"], checkpoint["config"]
    if not isinstance(config, dict) or not isinstance(state, Mapping):
        raise CheckpointError(f"{path} was not written by nf_mnist: its state_dict or config is no dict")
    if not all(isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()):
        raise CheckpointError(f"{path} was not written by nf_mnist: its state_dict holds more than tensors")
    return {**checkpoint, "config": current_config(config)}


def load_weights(module: nn.Module, checkpoint: Mapping[str, Any], path: str | Path, prefix: str = FLOW_PREFIX) -> None:
    """Load the weights of a checkpoint under a prefix; nothing is loaded unless every name and shape agrees.

    Raises:
        CheckpointError: If the checkpoint is of another architecture, naming the first difference.
    """
    state = {
        name.removeprefix(prefix): value for name, value in checkpoint["state_dict"].items() if name.startswith(prefix)
    }
    own = module.state_dict()
    state = {current_parameter(name, own): value for name, value in state.items()}
    for name in {**own, **state}:
        here, there = own.get(name), state.get(name)
        if here is None or there is None or here.shape != there.shape:
            shapes = [None if tensor is None else tuple(tensor.shape) for tensor in (here, there)]
            raise CheckpointError(
                f"{path} holds another architecture: {name} is {_shape(shapes[0])} in this model and "
                f"{_shape(shapes[1])} in the checkpoint; use the model and sizes it was trained with"
            )
        if there.layout != torch.strided or there.is_meta or not torch.can_cast(there.dtype, here.dtype):
            raise CheckpointError(f"{path} is damaged or foreign: {name} is no dense tensor of {here.dtype}")
    module.load_state_dict(state)


def check_settings(checkpoint: Mapping[str, Any], config: Mapping[str, Any], path: str | Path) -> None:
    """Check that a run would go on with the settings it began with; those that either does not know are not compared.

    Budgets, devices, callbacks and loggers may change. The optimizer's state brings its own rate with it, so that
    another one would be recorded and not used.

    Args:
        checkpoint: Of the run, as read.
        config: To go on with, as plain dicts, resolved.
        path: Of the checkpoint, for the message.

    Raises:
        ConfigError: Naming the first setting that differs.
    """
    now = dict(_settings({part: config[part] for part in KEPT if part in config}))
    for key, value in _settings({part: checkpoint["config"].get(part) for part in KEPT}):
        if key in now and now[key] != value and key not in FREE:
            raise ConfigError(
                f"{key} is {now[key]}, but the run of {path} has {value}; go on with the settings that it began with, "
                f"or start afresh with init_from={path}"
            )


def _settings(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each setting under its whole name, as a command line gives it."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _settings(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def weights_only(checkpoint: Mapping[str, Any], *modules: nn.Module) -> dict[str, Any]:
    """Return what is left of a checkpoint when it is released: weights, configuration and how it was trained.

    Parameters are rounded to bfloat16; buffers (counted distributions, statistics) stay as they are, since metrics
    depend on their last bits. The state of optimizer and callbacks is left out, but for the time that training took,
    and so are the folders of the run.

    Args:
        checkpoint: As read.
        modules: The flow and dequantizer, or the classifier, built from it, to tell parameters from buffers.
    """
    parameters = {name for module in modules for name, _ in module.named_parameters()}
    state = {
        name: value.bfloat16() if name.partition(".")[2] in parameters else value
        for name, value in checkpoint["state_dict"].items()
    }
    config = {key: value for key, value in checkpoint["config"].items() if key not in OF_THE_RUN}
    config["trainer"] = {key: value for key, value in config["trainer"].items() if key != "default_root_dir"}
    kept = {key: checkpoint[key] for key in ("global_step", "hardware", "nf_mnist_version")}
    timer = {key: value for key, value in checkpoint["callbacks"].items() if key == "Timer"}
    return {"state_dict": state, "config": config, **kept, "callbacks": timer}


def training_record(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a table of results says about a training run: name, seed, steps, images, seconds and hardware.

    ``images`` counts every image as often as one process saw it; ``seconds`` is the time of all resumes;
    what an older checkpoint does not tell is None.
    """
    config, steps = checkpoint["config"], checkpoint.get("global_step")
    images_per_step = config["data"]["batch_size"] * config["trainer"]["accumulate_grad_batches"]
    elapsed = checkpoint.get("callbacks", {}).get("Timer", {}).get("time_elapsed", {})
    return {
        "name": config["name"],
        "seed": config["seed"],
        "steps": steps,
        "images": None if steps is None else steps * images_per_step,
        "seconds": elapsed.get("train"),
        "hardware": checkpoint.get("hardware"),
    }


def _shape(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else f"of shape {shape}"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
