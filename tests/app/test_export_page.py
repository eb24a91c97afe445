"""The page that samples and completes digits in a browser: what it is made of, and the page itself in Chromium."""

import functools
import http.server
import importlib
import shutil
import threading
from collections.abc import Iterator

import pytest
import torch

from nf_mnist.app import browser_page
from nf_mnist.app.browser_page import SHAPE, check_exportable, copy_runtime, export_sampler, write_html
from nf_mnist.bijectors import Flatten, Logit, Sequential
from nf_mnist.errors import ConfigError, MachineError
from nf_mnist.flows import Flow, conditional
from nf_mnist.inpainting import make_observed
from tests.support.helpers import run_command

SIZES = {
    "n_scales": 1,
    "channels": 4,
    "n_blocks": 1,
    "n_components": 2,
    "n_references": 2,
    "n_frequent": 1,
    "n_groups": 2,
    "transformer_features": 8,
    "transformer_blocks": 1,
    "transformer_heads": 1,
}


def tiny(shape: tuple[int, ...] = SHAPE) -> Flow:
    """Return a small flow with random weights, so that no network predicts the same everywhere."""
    flow = conditional(event_shape=shape, **SIZES).eval().requires_grad_(False)
    for parameter in flow.parameters():
        parameter += 0.3 * torch.randn_like(parameter)
    return flow


def test_a_flow_that_cannot_complete_is_refused():
    with pytest.raises(ConfigError, match="a flow conditioned on observed pixels, such as"):
        check_exportable(Flow(Sequential([Logit(), Flatten(SHAPE)]), SHAPE))
    with pytest.raises(ConfigError, match=r"shows images of \(1, 28, 28\), and this flow's are \(1, 14, 14\)"):
        check_exportable(tiny((1, 14, 14)))


def test_what_is_not_installed_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(browser_page.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MachineError, match=r"onnx and onnxruntime is not installed: .*'nf_mnist\[page\]'"):
        check_exportable(tiny())
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MachineError, match=r"npm, which fetches onnxruntime-web@.*, is not installed"):
        copy_runtime(tmp_path)


def test_a_registry_that_cannot_be_reached_is_said_in_one_line(monkeypatch, tmp_path):
    (tmp_path / "npm").write_text("#!/bin/sh\necho 'npm error network getaddrinfo' >&2\necho more >&2\nexit 1\n")
    (tmp_path / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(MachineError, match=r"npm cannot fetch onnxruntime-web@\S+: npm error network getaddrinfo$"):
        copy_runtime(tmp_path)


def test_the_command_refuses_before_it_writes(tmp_path):
    finished = run_command("export_page", "ckpt=pretrained:resflow", f"out={tmp_path}/page")
    assert (finished.code, finished.err.count("\n")) == (1, 1)
    assert "conditioned on observed pixels" in finished.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_exported_sampler_is_the_flow(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    flow = tiny()
    assert export_sampler(flow, tmp_path) > 0.999
    session = onnxruntime.InferenceSession(tmp_path / "sampler.onnx")
    observed = make_observed("lower", SHAPE)
    image = torch.randint(256, SHAPE).float()
    context = torch.cat([image * observed, observed.float()])[None]
    (levels,) = session.run(None, {"z": torch.randn(1, flow.dims).numpy(), "observed": context.numpy()})
    assert torch.equal(torch.from_numpy(levels)[0][observed], image[observed]), "observed pixels are kept"


@pytest.fixture(scope="module")
def flow() -> Flow:
    torch.manual_seed(0)
    return tiny()


@pytest.fixture(scope="module")
def address(flow, tmp_path_factory) -> Iterator[str]:
    """Serve the page with a small flow by a plain static server."""
    pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("page")
    try:
        copy_runtime(folder)
    except MachineError as error:
        pytest.skip(str(error))
    export_sampler(flow, folder)
    write_html(folder, "tiny")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


class Page:
    """The page in a headless Chromium."""

    def __init__(self, browser, address: str) -> None:
        self.browser = browser
        browser.get(address)
        self.wait("Ready.")

    def wait(self, text: str) -> None:
        support = importlib.import_module("selenium.webdriver.support.ui")
        support.WebDriverWait(self.browser, 120).until(lambda _: text in self.text("status"), f"no {text!r}")

    def text(self, name: str) -> str:
        return self.browser.find_element("id", name).text

    def put(self, name: str, value: object) -> None:
        script = (
            "const e = document.getElementById(arguments[0]); e.value = arguments[1]; "
            "e.dispatchEvent(new Event('change'))"
        )
        self.browser.execute_script(script, name, str(value))

    def click(self, selector: str) -> None:
        self.browser.find_element("css selector", selector).click()

    def images(self, selector: str) -> torch.Tensor:
        """Return what canvases show, shape (n, 28, 28, 4)."""
        script = (
            "return [...document.querySelectorAll(arguments[0])].map("
            "e => [...e.getContext('2d').getImageData(0, 0, 28, 28).data])"
        )
        return torch.tensor(self.browser.execute_script(script, selector)).unflatten(1, (28, 28, 4))


@pytest.fixture
def page(address) -> Iterator[Page]:
    if shutil.which("chromedriver") is None:
        pytest.skip("Chromium is not installed")
    webdriver = pytest.importorskip("selenium.webdriver")
    options = webdriver.ChromeOptions()
    for option in (*importlib.import_module("tools.screenshots").OPTIONS, "--window-size=1000,900"):
        options.add_argument(option)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        browser.set_script_timeout(120)
        yield Page(browser, address)
    finally:
        browser.quit()


@pytest.mark.browser
def test_the_browser_draws_what_the_library_draws(page, flow):
    z = torch.randn(1, flow.dims)
    image = torch.randint(256, (28, 28))
    observed = make_observed("left", SHAPE)[0]
    script = (
        "const done = arguments[3]; decode(arguments[0], arguments[1], arguments[2]).then(found => done([...found]))"
    )
    given = z[0].tolist(), image.flatten().tolist(), observed.flatten().int().tolist()
    found = torch.tensor(page.browser.execute_async_script(script, *given)).reshape(28, 28)
    context = torch.stack([torch.where(observed, image, 0), observed.int()])[None].float()
    wanted = (flow.decode(z, context) * 256).floor()[0, 0]
    assert (found == wanted).double().mean() > 0.99
    assert torch.equal(found[observed], image[observed])


@pytest.mark.browser
def test_one_samples_takes_a_sample_over_hides_a_half_and_completes_it(page):
    page.put("count", 2)
    page.click("#sample")
    page.wait("2 of 2")
    samples = page.images("#results canvas")
    assert len(samples) == 2
    assert not torch.equal(samples[0], samples[1])
    page.click("#complete")
    assert "Nothing is hidden" in page.text("status")
    page.click("#results canvas")
    assert torch.equal(page.images("#editor")[0], samples[0])
    page.put("mask", "lower")
    page.put("seed", 1)
    page.click("#complete")
    page.wait("2 of 2")
    completed = page.images("#results canvas")
    assert torch.equal(completed[:, :14], samples[:1, :14].expand(2, -1, -1, -1)), "what is shown is kept"
    assert not torch.equal(completed[0, 14:], completed[1, 14:])
    page.put("temperature", -1)
    page.click("#sample")
    assert "temperature must be from 0 to 2" in page.text("status")
    page.click("#clear")
    page.put("mask", "upper")
    page.click("#complete")
    assert "What is shown is black" in page.text("status")
    loaded = page.browser.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert all(url.startswith((page.browser.current_url, "data:", "blob:")) for url in loaded), loaded


@pytest.mark.browser
def test_what_is_drawn_is_shown_and_completed_and_a_seed_decides_the_samples(page):
    actions = importlib.import_module("selenium.webdriver").ActionChains(page.browser)
    editor = page.browser.find_element("id", "editor")
    actions.move_to_element_with_offset(editor, -50, -60).click_and_hold().move_by_offset(100, 0).release().perform()
    drawn = page.images("#editor")[0, ..., 0]
    assert (drawn[7, 9:20] == 255).all(), "a stroke has no gap, though the pointer moves at once"
    assert (drawn[9:] == 0).all()
    page.put("mask", "lower")
    found = []
    for seed in (3, 3, 4):
        page.put("count", 1)
        page.put("seed", seed)
        page.click("#complete")
        page.wait("1 of 1")
        found.append(page.images("#results canvas")[0])
    assert torch.equal(found[0][:14, :, 0], drawn[:14])
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
