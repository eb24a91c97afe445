"""nf_mnist: normalizing flows on MNIST, measured honestly."""

import importlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nf_mnist.process import begin_command

if TYPE_CHECKING:
    from nf_mnist.flows import Flow

__version__ = "0.1.0"
begin_command()


def __getattr__(name: str) -> Any:
    """Import what is slow to import only when it is used: ``nf_mnist.train("resflow")``, ``nf_mnist.diagnose(flow)``.

    Both are modules of commands and can be called, too.
    """
    if name in ("diagnose", "train"):
        return importlib.import_module(f"nf_mnist.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def load_flow(path: str | Path, trust: Iterable[str] = ()) -> "Flow":
    """Return the trained flow of a checkpoint, in evaluation mode on the CPU.

    :func:`nf_mnist.app.trained.load_trained` also returns its dequantizer, its configuration and its training record.

    Args:
        path: A file, or ``pretrained:NAME`` for released weights.
        trust: Further packages whose code the checkpoint may name.

    Raises:
        CheckpointError: If the file is missing, damaged, not written by nf_mnist, or names other code.
    """
    from nf_mnist.app.trained import load_trained  # Hydra is not needed to import the library

    return load_trained(path, trust).flow


def load_pretrained(name: str) -> "Flow":
    """Return a released flow, in evaluation mode on the CPU.

    Args:
        name: Name of the weights, such as ``hierarchical-base``; the error for an unknown name lists all of them.

    Raises:
        CheckpointError: If no weights were released under that name, or the file differs from its checksum.
    """
    return load_flow(f"pretrained:{name}")
