"""nf_mnist: normalizing flows on MNIST, measured honestly."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nf_mnist.flows import Flow

__version__ = "0.1.0"


def load_pretrained(name: str) -> "Flow":
    """Return a released flow, in evaluation mode on the CPU.

    Args:
        name: Such as ``hierarchical-base``; a wrong one is answered with the list.

    Raises:
        CheckpointError: If nothing was released under that name, or its file differs from the checksum.
    """
    from nf_mnist.app.building import load_flow
    from nf_mnist.checkpoints.pretrained import PREFIX

    return load_flow(f"{PREFIX}{name}")[0]
