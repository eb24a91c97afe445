"""What errors of other libraries mean to a user.

These libraries raise a plain ValueError or RuntimeError, so what tells their errors apart is often where they were
raised.
"""

import re
import traceback

import torch

from nf_mnist.app.messages import one_line
from nf_mnist.errors import ConfigError, MachineError, NFMnistError, RunError, first_line

# The setting that saves memory, by the module in which memory ran out; the first that has taken part counts.
MEMORY_SETTINGS = {
    "lightning": "data.batch_size, or model.recompute=true",
    "nf_mnist.app.sample_quality": "samples.batch_size",
    "nf_mnist.app.evaluation": "evaluation.batch_size",
}
COMPILERS = ("torch._dynamo", "torch._inductor")


def translated(error: Exception) -> NFMnistError | None:
    """Return an error that says to a user what one of another library means; None if it is none that users meet."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    modules = [frame.f_globals.get("__name__", "") for frame in frames]
    if _is_of_memory(error):
        return _out_of_memory(error, modules)
    if type(error).__module__.startswith(COMPILERS):
        return MachineError(f"torch.compile failed: {first_line(error)}; use model.compile=false, or mend the compiler")
    if isinstance(error, TypeError | ValueError | AssertionError) and _is_of(modules[-1], "hydra"):
        is_group = "hydra._internal.defaults_list" in modules
        advice = "; a group takes the name of one of its files; leave a group out with ~group" if is_group else ""
        return ConfigError(f"{first_line(error)}{advice}")
    if isinstance(error, ValueError) and frames[-1].f_code.co_name == "_verify_batch_size":  # of torch's BatchNorm
        return ConfigError(f"{first_line(error)}; batches of one image have no statistics: raise data.batch_size")
    in_optuna = [frame.f_code.co_name for frame in frames if _is_of(frame.f_globals.get("__name__", ""), "optuna")]
    if isinstance(error, ValueError) and "best_trial" in in_optuna:
        return RunError("no run of this sweep has a result; python -m nf_mnist.sweep_report FOLDER says why")
    if _is_lightnings(error, modules):
        return ConfigError(f"Lightning refuses a setting of trainer, callbacks or logger: {one_line(error)}")
    if _is_of(type(error).__module__, "submitit"):
        return RunError(f"submitit: {first_line(error)}; the same command does what is missing")
    return None


def _is_of_memory(error: Exception) -> bool:
    """Return whether memory ran out: of Python, of torch on a GPU, or of torch on a CPU, which has no class for it."""
    text = str(error).lower()
    is_torchs = isinstance(error, RuntimeError) and ("out of memory" in text or "defaultcpuallocator" in text)
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or is_torchs


def _out_of_memory(error: Exception, modules: list[str]) -> MachineError:
    wanted = re.search(r"tried to allocate ([\d.]+ \w+)", str(error), re.IGNORECASE)
    size = f" ({wanted[1]} more were wanted)" if wanted else ""
    settings = (setting for part, setting in MEMORY_SETTINGS.items() if any(name.startswith(part) for name in modules))
    return MachineError(f"out of memory{size}; use a smaller {next(settings, 'batch_size')}")


def _is_lightnings(error: Exception, modules: list[str]) -> bool:
    """Return whether Lightning refuses a setting: the error was raised below its code, and not below ours."""
    if not isinstance(error, TypeError | ValueError) and type(error).__name__ != "MisconfigurationException":
        return False
    last = next((name for name in reversed(modules) if _is_of(name, "lightning") or _is_of(name, "nf_mnist")), "")
    return _is_of(last, "lightning")


def _is_of(module: str, package: str) -> bool:
    return module.partition(".")[0] == package
