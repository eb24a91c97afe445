"""What a page needs before a flow is loaded: Gradio, and a port that is free."""

import importlib.util
import socket

from nf_mnist.errors import MachineError


def check_gradio() -> None:
    """Check that Gradio is installed.

    Raises:
        MachineError: If it is not.
    """
    if importlib.util.find_spec("gradio") is None:
        raise MachineError("the page needs Gradio, which is not installed: pip install 'nf_mnist[play]'")


def check_port(host: str, port: int) -> None:
    """Check that a server can listen at a port.

    Raises:
        MachineError: If it cannot, as another program listens there, or the address is not one of this machine.
    """
    try:
        family, kind, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind(address)
    except OSError as error:
        raise MachineError(
            f"cannot serve at {host}:{port} ({error.strerror}); choose another with port= or host="
        ) from None
