"""The settings that are no numbers: parts that have settings of their own, texts and lists.

Numbers and switches are checked by :mod:`nf_mnist.app.settings` and :mod:`nf_mnist.app.kinds`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from nf_mnist.app.composing import config_dir
from nf_mnist.errors import ConfigError
from nf_mnist.overrides import pasteable

# A setting that the command does not have is not checked. Texts may be null where null is their default.
TEXTS = (
    *("output_dir", "run_dir", "ckpt", "init_from", "rerun", "trainable", "out", "image", "ood_data"),
    *("radius_plot", "temperature_plot", "per_image", "host"),
)
TEXTS_OR_NUMBERS = ("name",)
LISTS = ("trust",)
PARTS = ("data", "model", "callbacks", "logger", "evaluation", "samples", "flow")
BUILT_PARTS = ("data.source", "model.flow", "model.noise", "classifier", "method", "optimizer", "scheduler", "trainer")
PARTS_OF_BUILT_PARTS = ("callbacks", "logger")
NULLABLE_PARTS = ("evaluation", "model.noise")


def check_structure(cfg: DictConfig, config_name: str) -> None:
    """Check the kinds of all settings of a command that are parts, texts or lists.

    Args:
        cfg: The configuration of the command, resolved.
        config_name: Name of the command's file in ``conf``.

    Raises:
        ConfigError: Naming the first setting that is of the wrong kind.
    """
    for key, value in _present(cfg, PARTS):
        if not isinstance(value, DictConfig) and not (value is None and key in NULLABLE_PARTS):
            raise ConfigError(f"{key} must be a part with settings of its own, {key}.NAME=..., got {value!r}")
    for key, value in _present(cfg, BUILT_PARTS):
        _check_built(key, value, key in NULLABLE_PARTS)
    for group, parts in _present(cfg, PARTS_OF_BUILT_PARTS):
        for name, value in parts.items():
            _check_built(f"{group}.{name}", value, is_nullable=True)
    for key, value in _present(cfg, LISTS):
        if not isinstance(value, ListConfig):
            raise ConfigError(f"{key} must be a list, {key}=[a,b], got {value!r}")
    _check_texts(cfg, config_name)


def _check_built(key: str, value: Any, is_nullable: bool) -> None:
    """Check a part that is built from its ``_target_``."""
    if value is None and is_nullable:
        return
    if not isinstance(value, DictConfig) or not isinstance(value.get("_target_"), str):
        null = ", or null" if is_nullable else ""
        raise ConfigError(f"{key} must be a part with a _target_, which says what it is{null}; got {value!r}")


def _check_texts(cfg: DictConfig, config_name: str) -> None:
    defaults: Any = OmegaConf.to_container(OmegaConf.load(Path(config_dir(), f"{config_name}.yaml")))
    for key, value in _present(cfg, (*TEXTS, *TEXTS_OR_NUMBERS)):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if isinstance(value, str) or (value is None and defaults[key] is None) or (is_number and key not in TEXTS):
            continue
        advice = f"; quote what only looks like a number: {pasteable(key, value)}" if is_number else ""
        raise ConfigError(f"{key} must be a text, got {value!r}{advice}")


def _present(cfg: DictConfig, keys: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """Yield the settings among ``keys`` that a configuration has, and their values."""
    for key in keys:
        *parents, name = key.split(".")
        node: Any = cfg
        for parent in parents:
            node = node.get(parent) if isinstance(node, DictConfig) else None
        if isinstance(node, DictConfig) and name in node and not OmegaConf.is_missing(node, name):
            yield key, node[name]
