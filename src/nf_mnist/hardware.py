"""What this machine can do and is fast at: detected, not assumed."""

import contextlib
import ctypes
import sys
import time
from collections.abc import Iterator

import torch

from nf_mnist.bfloat16 import cpu_with_bfloat16, gains_from_bfloat16
from nf_mnist.errors import ConfigError, MachineError

# The builds of torch's latest version for older cards; see docs/gpu.md.
INDEX_FOR_OLDER_CARDS = "https://download.pytorch.org/whl/cu126"
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed", "64-true")


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Fix torch's random numbers within the context, and restore its random states afterwards.

    Estimates of log-determinants then have the same noise in each run.

    Args:
        seed: Seed of all devices.
    """
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield


def synchronize(device: torch.device) -> None:
    """Wait for a GPU to finish; on a CPU there is nothing to wait for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def time_when_done(device: torch.device) -> float:
    """Return the time in seconds once all work is done: GPU calls return before it, CPU calls after it."""
    synchronize(device)
    return time.perf_counter()


def resolve_device(name: str) -> torch.device:
    """Return a device by its name.

    Args:
        name: ``auto``, which is the GPU if there is one; ``cpu``; ``cuda``, or a certain GPU such as ``cuda:1``.

    Raises:
        MachineError: If the machine has no such GPU, or this build of torch does not run on it.
        ConfigError: If there is no device of that name.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError, ValueError):
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise ConfigError(f"unknown device {name!r}; choose auto, cpu or cuda")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise MachineError(f"{name} was asked for, but this machine has {torch.cuda.device_count()} GPUs; use cpu")
    if device.type == "cuda":
        _check_kernels(device)
    return device


def _check_kernels(device: torch.device) -> None:
    """Refuse a GPU that this build of torch has no kernels for; the first of them would fail.

    Kernels for ``sm_XY`` run on cards of compute capability X.Y and later ones with the same X, code for
    ``compute_XY`` on all later ones.
    """
    major, minor = torch.cuda.get_device_capability(device)
    built_for = torch.cuda.get_arch_list()
    for name in built_for:
        kind, _, number = name.rstrip("af").partition("_")
        is_later = (int(number[:-1]), int(number[-1])) <= (major, minor)
        if is_later and (kind == "compute" or int(number[:-1]) == major):
            return
    raise MachineError(
        f"torch {torch.__version__} has no kernels for {torch.cuda.get_device_name(device)}, compute capability "
        f"{major}.{minor}, but for {', '.join(built_for)}; compute on the CPU (device=cpu, in training "
        f"trainer.accelerator=cpu), or install a build for this card: make setup TORCH_INDEX={INDEX_FOR_OLDER_CARDS}"
    )


def resolve_accelerator(name: str) -> str:
    """Return Lightning's name of the accelerator to train on.

    Apple's GPU, which Lightning would take, is refused: it has no float64, which some maps need for accuracy.

    Args:
        name: A name of Lightning's, or ``auto``: a CUDA GPU if there is one, else the CPU.

    Raises:
        MachineError: If the machine does not have the accelerator, this build of torch does not run on it, or it has no
            float64.
    """
    if name == "mps":
        raise MachineError("trainer.accelerator=mps, but Apple's GPUs have no float64; use trainer.accelerator=cpu")
    if name in ("gpu", "cuda") and not torch.cuda.is_available():
        raise MachineError(f"trainer.accelerator={name}, but torch sees no GPU here; use trainer.accelerator=cpu")
    if name in ("auto", "gpu", "cuda"):
        resolved = resolve_device("auto").type
        return resolved if name == "auto" else name
    return name


def check_n_devices(n: object, accelerator: str) -> None:
    """Check that the machine has so many GPUs.

    Args:
        n: Number of devices of a training; what is no whole number is left to Lightning.
        accelerator: An accelerator, from :func:`resolve_accelerator`.

    Raises:
        MachineError: If it has fewer.
    """
    if accelerator in ("gpu", "cuda") and isinstance(n, int) and n > (found := torch.cuda.device_count()):
        raise MachineError(f"trainer.devices={n}, but torch sees {found} GPUs here; use trainer.devices={found}")


def resolve_precision(precision: str | int, accelerator: str) -> str:
    """Return Lightning's name of the precision to train in.

    ``auto`` runs networks in bfloat16 where :func:`~nf_mnist.bfloat16.gains_from_bfloat16` says that this is faster,
    and in float32 elsewhere.

    Args:
        precision: A name of Lightning's, or ``auto``.
        accelerator: An accelerator, from :func:`resolve_accelerator`.

    Raises:
        ConfigError: If the precision is unknown.
    """
    if str(precision) not in PRECISIONS:
        raise ConfigError(f"unknown precision {precision!r}; choose one of {', '.join(PRECISIONS)}")
    if precision != "auto":
        return str(precision)
    on_gpu = accelerator in ("gpu", "cuda")
    return "bf16-mixed" if gains_from_bfloat16(torch.device("cuda" if on_gpu else "cpu")) else "32-true"


def dtype_of(precision: str) -> torch.dtype:
    """Return the dtype of weights and images in a precision from :func:`resolve_precision`."""
    return torch.float64 if precision == "64-true" else torch.float32


def autocast_of(precision: str, device: torch.device) -> torch.autocast:
    """Return the context in which networks run in a precision from :func:`resolve_precision`."""
    low = torch.float16 if precision == "16-mixed" else torch.bfloat16
    return torch.autocast(device.type, low, enabled=precision.endswith("-mixed"))


def use_ieee_float32() -> None:
    """Compute float32 in float32 on a GPU, in training and after it: in 24 bits, not in the 11 bits of TF32.

    By default cuDNN rounds the inputs of convolutions to TF32 on GPUs from compute capability 8 on. That takes the
    round trip of a flow from thousandths of a grey level to half a level. Who wants speed in training takes
    ``trainer.precision=bf16-mixed``, the default on these GPUs, which is faster than TF32.
    """
    convolutions = getattr(torch.backends.cudnn, "conv", None)  # before torch 2.9 there is a switch instead
    if convolutions is None:
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    else:
        convolutions.fp32_precision = torch.backends.cuda.matmul.fp32_precision = "ieee"


def keep_freed_memory() -> None:
    """Let glibc keep freed memory instead of returning it to the system after each step.

    Activations take tens of megabytes. By default each is mapped, filled with zeros page by page and unmapped again in
    every step, which takes a third of the training time on a CPU. On other systems this function does nothing.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    for threshold in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD):
        mallopt(threshold, 2**31 - 1)


def describe(device: torch.device | str = "cpu") -> str:
    """Return one line about what computes on a device, processor or GPU, and the versions that matter."""
    device = torch.device(device)
    if device.type == "cuda":
        processor = torch.cuda.get_device_name(device)
    else:
        capability = cpu_with_bfloat16() or torch.backends.cpu.get_cpu_capability()
        processor = f"CPU ({capability}), {torch.get_num_threads()} threads"
    return f"{processor}, torch {torch.__version__}"
