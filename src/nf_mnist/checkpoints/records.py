"""What a checkpoint tells about its training run, and what is kept of it when its weights are released."""

from collections.abc import Mapping
from numbers import Real
from typing import Any

from torch import nn

from nf_mnist.checkpoints.old_names import current_parameter
from nf_mnist.errors import CheckpointError

# Settings of the machine and the folder of a run, which are left out when its weights are released.
SETTINGS_NOT_RELEASED = ("output_dir", "run_dir", "ckpt", "init_from", "callbacks", "logger")
PLAIN = (str, Real)  # a run may be named by a number


def weights_only(checkpoint: Mapping[str, Any], *modules: nn.Module) -> dict[str, Any]:
    """Return what is kept of a checkpoint when it is released: weights, configuration and how it was trained.

    Parameters are rounded to bfloat16. Buffers (counted distributions, statistics) are not, since metrics depend on
    their last bits. Left out are the state of the optimizer and of the callbacks, except for the training time, and the
    folders of the run.

    Args:
        checkpoint: The checkpoint, as read.
        modules: The flow and the dequantizer, or the classifier, built from it; they tell parameters from buffers.
    """
    parameters = {name for module in modules for name, _ in module.named_parameters()}
    own = {name: name for module in modules for name in module.state_dict()}
    state = {
        name: value.bfloat16() if current_parameter(name.partition(".")[2], own) in parameters else value
        for name, value in checkpoint["state_dict"].items()
    }
    config = {key: value for key, value in checkpoint["config"].items() if key not in SETTINGS_NOT_RELEASED}
    trainer = _mapping(config.get("trainer"))
    config["trainer"] = {key: value for key, value in trainer.items() if key != "default_root_dir"}
    kept = {key: checkpoint[key] for key in ("global_step", "hardware", "nf_mnist_version") if key in checkpoint}
    timer = {key: value for key, value in _mapping(checkpoint.get("callbacks")).items() if key == "Timer"}
    return {"state_dict": state, "config": config, **kept, "callbacks": timer}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def training_record(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a table of results says about a training run: name, seed, steps, images, seconds and hardware.

    ``images`` counts an image each time that one process trains on it; ``seconds`` is the time of all resumes. Values
    that an older checkpoint does not hold are None.

    Raises:
        CheckpointError: If a value is missing that every checkpoint holds, or is of another kind.
    """
    steps = _value(checkpoint, "global_step", int, optional=True)
    batch_size = _value(checkpoint, "config.data.batch_size", int)
    n_batches = _value(checkpoint, "config.trainer.accumulate_grad_batches", int)
    return {
        "name": _value(checkpoint, "config.name", PLAIN),
        "seed": _value(checkpoint, "config.seed", int),
        "steps": steps,
        "images": None if steps is None else steps * batch_size * n_batches,
        "seconds": _value(checkpoint, "callbacks.Timer.time_elapsed.train", Real, optional=True),
        "hardware": _value(checkpoint, "hardware", str, optional=True),
    }


def _value(checkpoint: Mapping[str, Any], name: str, kind: Any, optional: bool = False) -> Any:
    """Return the value of a checkpoint under a dotted name, which must be of a kind; None if it may be missing."""
    node: Any = checkpoint
    for key in name.split("."):
        if not isinstance(node, Mapping):
            raise CheckpointError(f"{name} cannot be read, since what should hold {key} is {node!r:.40}")
        node = node.get(key, {} if key != name.rpartition(".")[2] else None)
    if node is None and optional:
        return None
    if not isinstance(node, kind):
        raise CheckpointError(f"{name} is missing" if node is None else f"{name} is {node!r:.40}")
    return node
