"""What every command shares: Hydra composes the configuration, and a mistake of the user ends in one line."""

import functools
import importlib.metadata
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

import hydra
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nf_mnist import __version__
from nf_mnist.app.composing import config_dir, register_resolvers
from nf_mnist.app.messages import one_line
from nf_mnist.app.output import release_paths
from nf_mnist.app.settings import check_names
from nf_mnist.app.structure import check_structure
from nf_mnist.app.translation import translated
from nf_mnist.errors import MachineError, NFMnistError, first_line
from nf_mnist.hardware import use_ieee_float32
from nf_mnist.process import handled_signals, keep_streams

Task = Callable[[DictConfig], Any]


def command(config_name: str) -> Callable[[Task], Callable[[], None]]:
    """Turn a function of a configuration into a command that Hydra composes and starts.

    A mistake of the user (any :class:`~nf_mnist.errors.NFMnistError`, and what Hydra and OmegaConf raise) is printed as
    one line, without a traceback, and the exit status is 1. In a sweep it is raised, so that the sweeper sees it.

    Args:
        config_name: Name of the command's file in ``conf``.
    """

    def decorate(task: Task) -> Callable[[], None]:
        job = _job(task, config_name)

        def main() -> None:
            keep_streams()
            with handled_signals():
                if "--version" in sys.argv[1:]:  # Hydra would name its own version only
                    print(versions())
                else:
                    start()

        def start() -> None:
            os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then leaves errors to us
            warnings.filterwarnings("ignore", module="lightning")
            warnings.filterwarnings("ignore", module=r"torch\.jit")  # torch's own use of it
            warnings.formatwarning = _warning_line
            register_resolvers()
            run = hydra.main(version_base="1.3", config_path=config_dir(), config_name=config_name)(job)
            try:
                check_names(sys.argv[1:])
                run()
            except (NFMnistError, HydraException, OmegaConfBaseException, OSError) as error:
                fail(error)
            except Exception as error:
                known = translated(error)
                if known is None:
                    raise
                fail(known)

        return main

    return decorate


def _job(task: Task, config_name: str) -> Task:
    """Return a task that resolves its configuration, and prints a mistake as one line unless it is part of a sweep."""

    @functools.wraps(task)
    def job(cfg: DictConfig) -> Any:
        try:
            register_resolvers()  # in a process of a launcher's, too
            OmegaConf.resolve(cfg)
            prepare(cfg, config_name)
            return task(cfg)
        except (NFMnistError, OmegaConfBaseException, OSError) as error:
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise
            fail(error)
        finally:
            release_paths()

    return job


def prepare(cfg: DictConfig, config_name: str) -> None:
    """Prepare a process to do what a resolved configuration says.

    Args:
        cfg: The configuration.
        config_name: Name of the command's file in ``conf``.

    Raises:
        ConfigError: If a setting that is a part, a text or a list is of another kind.
        MachineError: If torchvision does not match the installed torch.
    """
    check_torchvision()
    use_ieee_float32()
    check_structure(cfg, config_name)


def versions() -> str:
    """Return the versions of nf_mnist and of what it is built on, in one line."""
    others = (f"{name} {importlib.metadata.version(name)}" for name in ("torch", "lightning", "hydra-core"))
    return f"nf_mnist {__version__} with {', '.join(others)}"


def fail(error: BaseException) -> NoReturn:
    """Print an error as one line on the error stream and exit with status 1."""
    print(f"error: {one_line(error)}", file=sys.stderr)
    raise SystemExit(1)


def check_torchvision() -> None:
    """Import torchvision, on which Lightning's metrics and our pictures depend.

    Raises:
        MachineError: If it does not match the installed torch.
    """
    try:
        import torchvision  # noqa: F401  # 2 s, which --help does without
    except (ImportError, RuntimeError) as error:
        raise MachineError(
            f"torchvision does not work with torch {torch.__version__} ({first_line(error)}); install both "
            "from one index: pip install --force-reinstall torch torchvision"
        ) from error


def _warning_line(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """Return a warning as one line; users look for a result, not for the code that warns."""
    return f"warning: {' '.join(str(message).split())}\n"
