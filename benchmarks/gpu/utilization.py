"""The utilization of a GPU over a span of time, as ``nvidia-smi`` says it."""

import contextlib
import statistics
import subprocess
from typing import Any

import torch

QUERY = ("nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "200", "-i", "0")


class Utilization:
    """Samples utilization while its block runs; on a CPU, or without ``nvidia-smi``, there is nothing to sample."""

    def __init__(self, device: torch.device) -> None:
        self.device, self._text = device, ""
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> "Utilization":
        if self.device.type == "cuda":
            with contextlib.suppress(OSError):
                self._process = subprocess.Popen(QUERY, stdout=subprocess.PIPE, text=True)
        return self

    def __exit__(self, *_: Any) -> None:
        if self._process is not None:
            self._process.terminate()
            self._text = self._process.communicate()[0]

    def mean(self) -> float | None:
        """Return the mean in percent, or None if it is not known."""
        found = [float(line) for line in self._text.split() if line.isdigit()]
        return statistics.fmean(found) if found else None
