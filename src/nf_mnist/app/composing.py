"""Where configurations lie, what they may refer to, and the one place that builds what a ``_target_`` names."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.errors import InstantiationException
from hydra.utils import instantiate as hydra_instantiate
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict, read_write

from nf_mnist.app.kinds import check_kinds, nodes_with_targets
from nf_mnist.data import array_event_shape
from nf_mnist.errors import ConfigError, NFMnistError, SettingError

PACKAGE = Path(__file__).parents[1]


def config_dir() -> str:
    """Return the folder of the configuration files: ``conf`` of the checkout, or its copy in an installed package."""
    installed = PACKAGE / "conf"
    return str(installed if installed.is_dir() else PACKAGE.parent.parent / "conf")


def register_resolvers() -> None:
    """Make two functions available to configurations, so that nobody types what they return.

    ``${array_event_shape:file}`` is the shape of a user's own images, and ``${run_name:target,model}`` the module of a
    user's own flow, or the name of a model.
    """

    def event_shape(path: str | None) -> ListConfig:
        return OmegaConf.create(array_event_shape(path))

    def run_name(own: str | None, model: str) -> str:
        return model if own is None else own.partition(".")[0]

    OmegaConf.register_new_resolver("array_event_shape", event_shape, replace=True)
    OmegaConf.register_new_resolver("run_name", run_name, replace=True)


def compose_command(config_name: str, overrides: Sequence[str]) -> DictConfig:
    """Compose and resolve the configuration of a command outside its own process, such as in a notebook.

    What Hydra knows of the process stays as it was, also where somebody has initialized Hydra before.

    Args:
        config_name: Name of the command's file in ``conf``.
        overrides: The overrides, as on a command line.
    """
    with _hydra_state_restored(), initialize_config_dir(config_dir(), version_base="1.3"):
        register_resolvers()
        cfg = compose(config_name, list(overrides), return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)  # names of runs and of folders refer to it
        with read_write(cfg.hydra), open_dict(cfg):
            cfg.hydra.runtime.output_dir = str(Path(cfg.hydra.run.dir).absolute())
            HydraConfig.instance().set_config(cfg)
            del cfg["hydra"]
            OmegaConf.resolve(cfg)
    return cfg


@contextlib.contextmanager
def _hydra_state_restored() -> Iterator[None]:
    state = Singleton.get_state()
    GlobalHydra.instance().clear()
    try:
        yield
    finally:
        Singleton.set_state(state)


def instantiate(node: Any, **extra: Any) -> Any:
    """Build what a node's ``_target_`` names, with plain dicts and lists inside.

    Args:
        node: A node of a configuration.
        extra: Further arguments of the target.

    Raises:
        ConfigError: If the target cannot be built, or a setting is of the wrong kind or out of range; in one line.
        NFMnistError: If the target itself raised one; it is unchanged.
    """
    check_kinds(node)
    try:
        return hydra_instantiate(node, _convert_="object", **extra)
    except (InstantiationException, TypeError) as error:  # the latter where a flag of Hydra's, as _partial_, is no bool
        cause = error.__cause__ or error
        if isinstance(cause, SettingError):
            raise ConfigError(f"{_full_name(node, cause)} {cause.text}") from None
        if isinstance(cause, NFMnistError):
            raise cause from None
        target = node.get("_target_", "a part of the configuration") if isinstance(node, DictConfig) else repr(node)
        raise ConfigError(f"cannot build {target}: {(str(cause).splitlines() or [repr(cause)])[0]}") from error


def _full_name(node: Any, error: SettingError) -> str:
    """Return the full name of the setting that a target below ``node`` refuses, or the name of its argument."""
    for target in nodes_with_targets(node):
        if error.name in target and target[error.name] == error.value:
            return target._get_full_key(error.name)
    return error.name
