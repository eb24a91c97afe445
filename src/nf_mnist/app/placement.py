"""Where and in which precision a command computes."""

from typing import NamedTuple

import torch

from nf_mnist.hardware import autocast_of, dtype_of, keep_freed_memory, resolve_device, resolve_precision


class Placement(NamedTuple):
    """A device, and a precision by Lightning's name for it."""

    device: torch.device
    precision: str

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of weights and images."""
        return dtype_of(self.precision)

    def autocast(self) -> torch.autocast:
        """Return the context in which the networks run."""
        return autocast_of(self.precision, self.device)


def resolve_placement(device: str, precision: str) -> Placement:
    """Return what the settings ``device`` and ``precision`` mean on this machine, and prepare its memory.

    Raises:
        ConfigError: If a device or precision of that name is unknown.
        MachineError: If a GPU is asked for and there is none.
    """
    resolved = resolve_device(device)
    keep_freed_memory()
    return Placement(resolved, resolve_precision(precision, resolved.type))
