"""What a page lacks is a line."""

import importlib.util
import socket

import pytest

from nf_mnist.errors import MachineError
from nf_mnist.page.requirements import check_gradio, check_port
from tests.support.helpers import run_command


def test_a_port_in_use_is_a_line():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(MachineError, match=rf"^cannot serve at 127.0.0.1:{port} \("):
            check_port("127.0.0.1", port)
    check_port("127.0.0.1", port)


def test_an_address_of_another_machine_is_a_line():
    with pytest.raises(MachineError, match=r"^cannot serve at 192.0.2.1:7860 \("):
        check_port("192.0.2.1", 7860)


def test_without_gradio_the_command_says_what_to_install(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *more: None if name == "gradio" else found(name, *more)
    )
    with pytest.raises(MachineError, match="pip install 'nf_mnist\\[play\\]'"):
        check_gradio()
    ended = run_command("play")
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert ended.err.startswith("error: the page needs Gradio")


@pytest.mark.parametrize("setting", ["port=0", "port=65536", "port=x", "host=5", "host=null", "n_images=0"])
def test_settings_that_are_out_of_range_are_a_line(setting):
    ended = run_command("play", setting)
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert ended.err.startswith(f"error: {setting.partition('=')[0]} must be")
