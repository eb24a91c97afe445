"""Building a user's own flow, so that a mistake in the user's code is said with its file and line."""

import pkgutil
import sys
import traceback
from pathlib import Path
from typing import Any

from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from nf_mnist.app.composing import PACKAGE, instantiate
from nf_mnist.app.messages import one_line
from nf_mnist.checkpoints.targets import check_targets
from nf_mnist.diagnostics import as_flow
from nf_mnist.errors import ConfigError
from nf_mnist.flows import Flow
from nf_mnist.process import WANTS_TRACEBACKS

DIRECTIONS = ("forward_and_log_det", "inverse_and_log_det")


def build_own(node: DictConfig, trust: tuple[str, ...]) -> Any:
    """Build the user's own flow, if the module of its target is trusted.

    Args:
        node: The ``flow`` node, whose ``_target_`` names a builder.
        trust: Packages that may be imported.

    Raises:
        ConfigError: If the module cannot be imported, has no such builder, or the builder fails; or if it builds
            no flow. The message names the user's file and line. With HYDRA_FULL_ERROR=1 the traceback is printed, too.
        CheckpointError: If the module is not trusted.
    """
    target = str(node._target_)
    if target.partition(".")[0] in trust:
        _check_importable(target)
    check_targets({"model": OmegaConf.to_container(node)}, trust, "flow")
    try:
        built = instantiate(node)
    except ConfigError as error:
        cause = _innermost(error)
        if cause is error or _where(cause) == "":
            raise
        raise _said(f"{target} fails", cause) from None
    missing = [name for name in DIRECTIONS if not hasattr(built, name)]
    if missing and not isinstance(built, Flow):
        lacks = " and no ".join(missing)
        raise ConfigError(f"{target} built a {type(built).__name__}, which has no {lacks}")
    return built


def own_model(node: DictConfig, trust: tuple[str, ...], event_shape: Any) -> DictConfig:
    """Return a ``model`` node for the user's own flow, which :func:`build_own_model` builds.

    Args:
        node: The ``flow`` node, whose ``_target_`` names a builder.
        trust: Packages that may be imported.
        event_shape: Shape of an image.

    Raises:
        CheckpointError: If the module is not trusted.
    """
    if str(node._target_).partition(".")[0] in trust:
        _check_importable(str(node._target_))
    check_targets({"model": OmegaConf.to_container(node)}, trust, "flow")
    switches = {"channels_last": False, "compile": False, "recompute": False}
    return OmegaConf.create({"event_shape": event_shape, **switches, "flow": node})


def is_own_model(model: DictConfig) -> bool:
    """Return whether a ``model`` node is that of a user's own flow."""
    return "event_shape" in model


def build_own_model(model: DictConfig) -> Flow:
    """Build the flow of :func:`own_model`, in training mode.

    Raises:
        ConfigError: As :func:`build_own`.
    """
    package = str(model.flow._target_).partition(".")[0]
    return as_flow(build_own(model.flow, (package,)), tuple(model.event_shape)).train()


def _check_importable(target: str) -> None:
    try:
        pkgutil.resolve_name(target)
    except AttributeError as error:
        module = sys.modules.get(target.rpartition(".")[0])
        if module is None or _where(error):
            raise _said(f"{target} cannot be imported", error) from None
        own = [name for name, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
        raise ConfigError(f"{module.__name__} has no {target.rpartition('.')[2]}; it has {', '.join(own)}") from None
    except Exception as error:  # importing a user's module can fail in any way
        raise _said(f"{target} cannot be imported", error) from None


def _said(what: str, error: BaseException) -> ConfigError:
    if WANTS_TRACEBACKS:
        traceback.print_exception(error)
    return ConfigError(f"{what}: {type(error).__name__}: {one_line(error)}{_where(error)}")


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, ConfigError | InstantiationException) and error.__cause__ is not None:
        error = error.__cause__
    return error


def _where(error: BaseException) -> str:
    """Return the file and line of the user's code at which an error was raised; empty if it was in no such code."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({error.filename}, line {error.lineno})"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_users(frame.filename)]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""


def _is_users(filename: str) -> bool:
    path = Path(filename)
    is_library = "site-packages" in path.parts or "importlib" in filename or path.is_relative_to(sys.base_prefix)
    return not is_library and not path.is_relative_to(PACKAGE) and not filename.startswith("<")
