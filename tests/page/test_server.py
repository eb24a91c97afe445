"""The server: requests are neither lost nor mixed up, an aborted one ends, and nothing but the page is served."""

import ctypes
import gc
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from nf_mnist.inpainting import amortized
from nf_mnist.page import completions
from nf_mnist.page.drawings import whole, write_drawing
from tests.page.conftest import subject_of
from tests.support.helpers import compose_config
from tests.support.registry import make_flow

pytest.importorskip("gradio")
gradio_client = pytest.importorskip("gradio_client")
httpx = pytest.importorskip("httpx")

SECONDS = 300


class Counted:
    """A method that counts its calls; each takes a moment."""

    def __init__(self):
        self.sizes, self.seconds = [], 0.2

    def __call__(self, *given, n_samples, generator):
        self.sizes.append(n_samples)
        time.sleep(self.seconds)
        return amortized(*given, n_samples=n_samples, generator=generator)


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[tuple]:
    """Serve a small flow; yield the address, the subject and the method."""
    from nf_mnist.page.tabs import build_page, serving

    subject, method = subject_of(make_flow("conditional", torch.float32)), Counted()
    cfg = compose_config(["output_dir=x", "n_images=5"], "play")
    with serving(build_page(cfg, subject, {"amortized": method}), "127.0.0.1", free_port()) as url:
        yield url, subject, method


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return trial.getsockname()[1]


def text_of(subject, number: int = 0) -> str:
    return write_drawing(completions.hide(whole(subject.test_image(number)), "lower", 0))


def test_of_ten_requests_at_once_none_is_lost_or_mixed_up(served):
    url, subject, _ = served
    client = gradio_client.Client(url, verbose=False)
    jobs = [client.submit(text_of(subject, seed % 6), "amortized", 3, seed, api_name="/complete") for seed in range(10)]
    for seed, job in enumerate(jobs):
        given = completions.hide(whole(subject.test_image(seed % 6)), "lower", 0)
        *_, expected = completions.complete(subject.flow, "amortized", amortized, given, 3, seed)
        assert tuple(job.result(SECONDS)) == completions.completion_figures(given, expected, 3)
        assert len(job.outputs()) == 3, "completions arrive in three steps"


def test_an_aborted_request_ends_its_computation(served, monkeypatch):
    url, subject, method = served
    monkeypatch.setattr(method, "seconds", 1.5)  # so that a busy machine has the time to abort it
    client = gradio_client.Client(url, verbose=False)
    method.sizes.clear()
    job = client.submit(text_of(subject), "amortized", 64, 0, api_name="/complete")
    begin = time.monotonic()
    while not method.sizes:
        assert time.monotonic() - begin < SECONDS
        time.sleep(0.02)
    job.cancel()
    time.sleep(3)
    n_calls = len(method.sizes)
    time.sleep(3)
    assert len(method.sizes) == n_calls < 7, "seven calls make 64 completions"


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("complete", ("x", "amortized", 2, 0), "the canvas sent no drawing of 8x8 pixels"),
        ("complete", (None, "mode", 2, 0), "'mode'"),
        ("complete", (None, "amortized", 1000, 0), "1000"),
        ("bits", (json.dumps({"levels": "", "hidden": ""}),), "the canvas sent no drawing"),
        ("bits_take", (6,), "test_image must be from 0 to 5, got 6"),
        ("paths", (0, 99), "test_image must be from 0 to 5, got 99"),
        ("sample", (1, 9.0, "each in turn", 0, 0), "9.0"),
    ],
)
def test_what_cannot_be_answered_is_a_sentence_on_the_page_and_not_in_the_log(served, name, given, message, capfd):
    url, subject, _ = served
    client = gradio_client.Client(url, verbose=False)
    given = [text_of(subject) if value is None else value for value in given]
    with pytest.raises(gradio_client.exceptions.AppError, match=message):
        client.predict(*given, api_name=f"/{name}")
    assert capfd.readouterr().err == ""


def test_other_programs_see_the_named_requests_only(served):
    url, *_ = served
    shown = gradio_client.Client(url, verbose=False).view_api(return_format="dict", print_info=False)
    tabs = {"/complete", "/hide", "/complete_take", "/sample", "/paths", "/move", "/bits", "/bits_take", "/diagnose"}
    assert set(shown["named_endpoints"]) == tabs


def test_an_error_that_nobody_foresaw_says_no_more_than_its_kind(served, capfd):
    import gradio

    from nf_mnist.page.tabs.answers import answers

    def failing():
        raise OSError(2, "No such file", "/root/secret")

    def failing_later():
        yield 1
        failing()

    for function in (answers(failing), lambda: list(answers(failing_later)())):
        with pytest.raises(gradio.Error) as raised:
            function()
        assert "secret" not in raised.value.message
        assert raised.value.message.startswith("this went wrong: FileNotFoundError")
        assert capfd.readouterr().err.count("\n") == 1


def test_no_file_of_this_machine_can_be_read_or_written(served, tmp_path, monkeypatch):
    url, *_ = served
    secret = tmp_path / "secret.txt"
    secret.write_text("secret")
    for name in (str(secret), __file__, str(Path("pyproject.toml").resolve()), "/etc/passwd", "../../../../etc/passwd"):
        for route in (f"file={name}", f"gradio_api/file={name}", f"gradio_api/stream/{name}"):
            answer = httpx.get(f"{url}{route}")
            assert answer.status_code >= 400, route
            assert "secret" not in answer.text.replace(name, "")
    answer = httpx.post(f"{url}gradio_api/upload", files={"files": ("x.png", bytes(100), "image/png")})
    assert answer.status_code >= 400


@pytest.mark.slow
def test_memory_is_flat_over_two_hundred_completions(served):
    url, subject, _ = served
    client, drawing = gradio_client.Client(url, verbose=False), text_of(subject)
    sizes, n_threads = [], []  # other tests of this process may have left threads
    for number in range(200):
        client.predict(drawing, "amortized", 1, number, api_name="/complete")
        if number % 50 == 49:
            sizes.append(resident_mebibytes())
            n_threads.append(threading.active_count())
    assert sizes[-1] - sizes[0] < 10, sizes
    assert n_threads[-1] - n_threads[0] < 10, n_threads


def resident_mebibytes() -> float:
    """Return the memory in use. What was freed goes back to the system first: a large process keeps some of it."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # of glibc, as /proc is of Linux
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20
