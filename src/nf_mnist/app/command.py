"""What every command shares: Hydra composes, mistakes end in one line, and nothing is overwritten."""

import functools
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from nf_mnist.app.composing import config_dir, register_resolvers
from nf_mnist.app.messages import one_line
from nf_mnist.errors import ConfigError, MachineError, NFMnistError, RunError

if TYPE_CHECKING:
    pass


def command(config_name: str) -> Callable[[Callable[[DictConfig], Any]], Callable[[], None]]:
    """Turn a function of a configuration into a command that Hydra composes and starts.

    A mistake of the user (any :class:`~nf_mnist.errors.NFMnistError`, and what Hydra and OmegaConf raise) is printed as
    one line, without a traceback, and the exit status is 1. In a sweep it is raised, so that the sweeper sees it.
    """

    def decorate(task: Callable[[DictConfig], Any]) -> Callable[[], None]:
        @functools.wraps(task)
        def one_job(cfg: DictConfig) -> Any:
            try:
                check_torchvision()
                register_resolvers()  # in a process of a launcher's, too
                OmegaConf.resolve(cfg)
                return task(cfg)
            except (NFMnistError, OmegaConfBaseException, OSError) as error:
                if HydraConfig.get().mode == RunMode.MULTIRUN:
                    raise
                fail(error)

        def main() -> None:
            os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then leaves errors to us
            warnings.filterwarnings("ignore", module="lightning")
            warnings.formatwarning = _warning_line
            register_resolvers()
            run = hydra.main(version_base="1.3", config_path=config_dir(), config_name=config_name)(one_job)
            try:
                run()
            except (NFMnistError, HydraException, OmegaConfBaseException, OSError) as error:
                fail(error)
            except Exception as error:
                known = _translated(error)
                if known is None:
                    raise
                fail(known)

        return main

    return decorate


def fail(error: BaseException) -> NoReturn:
    """Print an error as one line on the error stream and exit with status 1."""
    if isinstance(error, BrokenPipeError):  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    else:
        print(f"error: {one_line(error)}", file=sys.stderr)
    raise SystemExit(1)


def _translated(error: Exception) -> NFMnistError | None:
    """Return what an error of another library has to say to a user, if it is one of those that users meet."""
    if isinstance(error, ValueError) and "Config group override" in str(error):  # group=null
        return ConfigError("a group takes the name of one of its files, not null; leave a group out with ~group")
    if isinstance(error, ValueError) and str(error).startswith(("No trials are completed", "Record does not exist")):
        return RunError("no run of this sweep has a result; python -m nf_mnist.sweep_report FOLDER says why")
    if _is_lightnings(error):
        return ConfigError(f"Lightning refuses a setting of trainer, callbacks or logger: {one_line(error)}")
    if type(error).__module__.startswith("submitit."):
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return RunError(f"submitit: {reason}; the same command does what is missing")
    return None


def _is_lightnings(error: Exception) -> bool:
    """Return whether an error is what Lightning says of a setting: it was raised below its code and not below ours."""
    if not isinstance(error, TypeError | ValueError) and type(error).__name__ != "MisconfigurationException":
        return False
    modules = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    packages = [module.partition(".")[0] for module in modules]
    return next((name for name in reversed(packages) if name in ("lightning", "nf_mnist")), None) == "lightning"


def _warning_line(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """Return a warning as one line, for people who look for a result and not for the code."""
    return f"warning: {' '.join(str(message).split())}\n"


def check_torchvision() -> None:
    """Import torchvision, on which Lightning's metrics and our pictures depend.

    Raises:
        MachineError: If it does not match the installed torch.
    """
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError) as error:
        import torch

        raise MachineError(
            f"torchvision does not work with torch {torch.__version__} ({str(error).splitlines()[0]}); install both "
            "from one index: pip install --force-reinstall torch torchvision"
        ) from error
