"""The settings that a run keeps when it is resumed."""

import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nf_mnist import __version__
from nf_mnist.errors import ConfigError
from nf_mnist.overrides import pasteable

# Of the other groups and settings, those that change no weight: budgets, devices, views and loggers.
FIXED_IN_A_RUN = ("seed", "trainable", "data", "model", "optimizer", "scheduler")
FIXED_OF_THE_TRAINER = (
    "precision",
    "accumulate_grad_batches",
    "gradient_clip_val",
    "gradient_clip_algorithm",
    "limit_train_batches",
)
FIXED_CALLBACKS = tuple(
    f"nf_mnist.training.callbacks.{name}" for name in ("AverageWeights", "RecomputeStatistics", "SkipBadSteps")
)
FREE_IN_A_RUN = {
    "model.channels_last",
    "model.compile",
    "model.recompute",
    "data.eval_batch_size",
    "data.sha256",  # compared on its own
    "data.source.path",
    "data.source.folder",
    "data.source.root",
}
# What was done before a setting existed, which must not change in a run.
SETTINGS_BEFORE = {"model.flow.level_prior": "none", "model.flow.n_palettes": 64, "data.rerender": 0.0}


def check_settings(checkpoint: Mapping[str, Any], config: Mapping[str, Any], path: str | Path) -> None:
    """Check that a resumed run keeps the settings on which its weights depend; null and absent are the same.

    A setting that only one of them has is refused, too. But an earlier version did not have every setting: what it did
    then is known (``SETTINGS_BEFORE``), or a warning says in one line what may have changed.

    Args:
        checkpoint: The checkpoint of the run, as read.
        config: The configuration to resume with, plain dicts, resolved.
        path: The file of the checkpoint, for messages.

    Raises:
        ConfigError: Naming the first setting that differs.
    """
    now, then = dict(_fixed(config)), dict(_fixed(checkpoint["config"]))
    then = {key: value for key, value in SETTINGS_BEFORE.items() if key in now} | then
    is_earlier = checkpoint.get("nf_mnist_version") != __version__
    for key in {**then, **now}:
        if now.get(key) == then.get(key):
            continue
        text = f"{key} is {_text(now, key)}, but the run of {path} has {_text(then, key)}"
        if is_earlier and (key not in now or key not in then):
            warnings.warn(f"{text}; an earlier version wrote it, so the run may not go on as it began", stacklevel=2)
        else:
            raise ConfigError(
                f"{text}; resume it with the settings that it began with, or start afresh with "
                f"{pasteable('init_from', path)}"
            )


def _fixed(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield each setting that a run keeps under its full name, as on a command line."""
    parts: dict[str, Any] = {part: config.get(part) for part in FIXED_IN_A_RUN}
    trainer, callbacks = (_mapping(config.get(part)) for part in ("trainer", "callbacks"))
    parts["trainer"] = {key: trainer.get(key) for key in FIXED_OF_THE_TRAINER}
    parts["callbacks"] = {
        name: node for name, node in callbacks.items() if _mapping(node).get("_target_") in FIXED_CALLBACKS
    }
    return ((key, value) for key, value in flattened(parts) if key not in FREE_IN_A_RUN)


def flattened(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each setting under its full name, as on a command line; ``prefix`` begins all names."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(settings: Mapping[str, Any], key: str) -> str:
    return str(settings[key]) if key in settings else "absent"
