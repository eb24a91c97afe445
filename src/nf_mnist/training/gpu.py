"""What a training asks of its GPU: memory, utilization, and the versions below torch, for people and for the record."""

import contextlib
import statistics
import subprocess
from typing import Any

import torch


class GPULoad:
    """The load of a GPU: its memory, and its utilization, the share of time in which it computes.

    Utilization needs the package ``nvidia-ml-py``. Neither makes the CPU wait for the GPU.

    Args:
        device: The GPU, or a CPU, which has no load.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._utilizations: list[int] = []

    def text(self) -> str:
        """Look at the GPU; return the largest memory so far and the present utilization, or "" on a CPU."""
        if self.device.type != "cuda":
            return ""
        memory = f"{peak_memory_gib(self.device):.1f} GiB"
        utilization = _utilization(self.device)
        if utilization is None:
            return memory
        self._utilizations.append(utilization)
        return f"{memory}, GPU {utilization}%"

    def mean_utilization(self) -> float | None:
        """Return the mean utilization over all looks in percent, or None if it is not known."""
        return statistics.fmean(self._utilizations) if self._utilizations else None


def peak_memory_gib(device: torch.device) -> float | None:
    """Return the largest memory of tensors on a GPU since this process began, in GiB, or None on a CPU."""
    return torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None


def gpu_record(device: torch.device) -> dict[str, Any] | None:
    """Return name, memory in GiB and compute capability of a GPU, its driver and torch's CUDA, or None on a CPU."""
    if device.type != "cuda":
        return None
    properties = torch.cuda.get_device_properties(device)
    return {
        "name": properties.name,
        "memory_gib": properties.total_memory / 2**30,
        "capability": f"{properties.major}.{properties.minor}",
        "driver": _driver(),
        "cuda": torch.version.cuda,
    }


def _utilization(device: torch.device) -> int | None:
    with contextlib.suppress(ImportError, RuntimeError):
        return torch.cuda.utilization(device)
    return None


def _driver() -> str | None:
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        found = subprocess.run(query, capture_output=True, text=True, check=True, timeout=60).stdout.split()
        return found[0] if found else None
    return None
