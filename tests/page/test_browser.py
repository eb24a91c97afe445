"""The page in a headless Chromium: each tab is used as by hand, and shows the numbers of the library."""

import base64
import io
import math
import re
import shutil
import time

import numpy as np
import pytest
import torch
from PIL import Image

from nf_mnist.app.building import load_split
from nf_mnist.app.trained import load_classifier, load_trained
from nf_mnist.data import evaluation_noise
from nf_mnist.inpainting import amortized
from nf_mnist.metrics import bits_of_pixels, draw_levels

pytestmark = pytest.mark.browser
pytest.importorskip("gradio")
pytest.importorskip("selenium")
if shutil.which("chromedriver") is None or shutil.which("chromium") is None:
    pytest.skip("there is no chromium with its driver", allow_module_level=True)
tool = pytest.importorskip("tools.play_screenshots")

CANVAS, N_IMAGES = "#complete-canvas canvas", 20
PIXELS = """
const canvas = document.querySelector(arguments[0]);
return Array.from(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data);
"""
OTHERS = "return performance.getEntriesByType('resource').map(entry => entry.name)"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    log = tmp_path_factory.mktemp("play") / "log.txt"
    with tool.PlayPage(log, [f"n_images={N_IMAGES}"]) as page:
        yield page
        assert log.read_text().count("\n") == 1, f"the log is quiet but for the address: {log.read_text()}"


@pytest.fixture(scope="module")
def trained():
    return load_trained("pretrained:conditional")


@pytest.fixture(scope="module")
def test_levels(trained) -> torch.Tensor:
    return load_split(trained.cfg.data, "test")[0].levels


def canvas_of(page, selector: str = CANVAS) -> tuple[np.ndarray, np.ndarray]:
    """Return the levels that a canvas shows, 0 where they are hidden, and which pixels are hidden."""
    pixels = np.array(page.browser.execute_script(PIXELS, selector)).reshape(28, 28, 4)
    hidden = pixels[..., 0] != pixels[..., 2]
    return np.where(hidden, 0, pixels[..., 0]), hidden


def shown_levels(element) -> list[np.ndarray]:
    """Return the pictures in an element."""
    sources = [image.get_attribute("src") for image in element.find_elements("css selector", "img")]
    return [np.array(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2])))) for source in sources]


def read_message(page, text: str) -> None:
    """Wait for a message of the page and close it, since it lies over what other tests click on."""
    message = page.wait("[data-testid=toast-body]", text)
    message.find_element("css selector", "[data-testid=toast-close]").click()
    until(lambda: not page.browser.find_elements("css selector", "[data-testid=toast-body]"))


def number_in(text: str, pattern: str) -> float:
    found = re.search(pattern, text)
    assert found, text
    return float(found[1])


def test_the_page_is_ready_and_asks_no_other_server(page):
    assert page.url.startswith("http://127.0.0.1:")
    names = page.browser.execute_script(OTHERS)
    assert names
    assert [name for name in names if not name.startswith((page.url, "data:"))] == []


def test_a_digit_is_erased_and_completed_as_by_the_library(page, trained, test_levels):
    page.tab("Complete")
    assert np.array_equal(canvas_of(page)[0], test_levels[0, 0].numpy())
    page.click("#complete-canvas [data-tool=hide]")
    page.stroke(CANVAS, [(3, 20), (24, 20)])
    levels, hidden = canvas_of(page)
    assert hidden[19:22, 4:24].all()
    assert not hidden[:16].any()
    page.click("#complete-start")
    text = page.wait("#complete-summary p", "16 of 16").text
    x = (test_levels[:1] + 0.5) / 256
    observed = ~torch.from_numpy(hidden)[None]
    with torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        expected = amortized(trained.flow, x, observed, n_samples=16, generator=generator).x[:, 0]
    deviation = expected[:, ~observed].std(0).mean().item()
    assert number_in(text, r"hidden pixel: (\S+)") == pytest.approx(deviation, abs=2e-3)
    pictures = shown_levels(page.wait("#complete-each"))
    assert len(pictures) == 16
    for picture in pictures:
        assert np.array_equal(picture[~hidden], test_levels[0, 0].numpy()[~hidden]), "what is given stays"
    assert np.array_equal(shown_levels(page.wait("#complete-summary"))[0][~hidden][:, 0], levels[~hidden])


def test_one_draws_rubs_out_and_clears(page):
    page.tab("Complete")
    page.click("#complete-canvas [data-tool=clear]")
    assert not canvas_of(page)[0].any()
    assert not canvas_of(page)[1].any()
    page.click("#complete-start")
    read_message(page, "the canvas is empty")
    page.click("#complete-canvas [data-tool=pen]")
    page.stroke(CANVAS, [(14, 4), (14, 23)])
    levels, _ = canvas_of(page)
    assert (levels[5:23, 14] > 200).all()
    assert levels[:, :10].max() == 0
    page.click("#complete-canvas [data-tool=rubber]")
    page.stroke(CANVAS, [(14, 14), (14, 23)])
    assert canvas_of(page)[0][14:23, 14].max() == 0
    assert canvas_of(page)[0][5:10, 14].min() > 200


def test_a_png_is_opened_and_one_of_another_size_is_refused(page, tmp_path):
    page.tab("Complete")
    levels = np.arange(784, dtype=np.uint8).reshape(28, 28)
    for name, array in (("good", levels), ("large", np.zeros((30, 28), np.uint8))):
        Image.fromarray(array).save(tmp_path / f"{name}.png")
    chooser = page.browser.find_element("css selector", "#complete-canvas input[type=file]")
    chooser.send_keys(str(tmp_path / "good.png"))
    until(lambda: np.array_equal(canvas_of(page)[0], levels))
    chooser = page.browser.find_element("css selector", "#complete-canvas input[type=file]")
    chooser.send_keys(str(tmp_path / "large.png"))
    read_message(page, "the picture is 28x30 pixels, this flow takes 28x28")


def test_samples_are_those_of_the_library_and_one_is_compared(page, trained):
    page.tab("Sample")
    page.click("#sample-start")
    chosen = page.wait("#sample-grid button:nth-child(3)")
    found = np.stack(shown_levels(page.wait("#sample-grid")))
    expected = draw_levels(trained.flow, 16, 1.0, batch_size=16, seed=0).levels[:, 0].numpy()
    assert (found != expected).mean() < 0.01, "rounding may change a level here and there"
    chosen.click()
    text = page.wait("#sample-chosen", "The classifier sees").text
    seen = load_classifier().probabilities(torch.from_numpy(found[2])[None, None])[0]
    assert number_in(text, r"sees (\d)") == seen.argmax()


def test_a_slider_moves_a_latent_off_the_shell(page, trained, test_levels):
    page.tab("Latents")
    page.click("#latents-start")
    assert "great circle" in page.wait("#latents-circle p").text
    x, _ = trained.dequantizer(test_levels[:1], evaluation_noise(torch.tensor([0]), (1, 28, 28), 0, 0))
    z = trained.flow.encode(x).detach()
    assert len(shown_levels(page.wait("#latents-line"))) == 7
    slider = page.wait("#noise input[type=range]")
    page.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", slider)
    slider.click()  # its middle
    text = page.wait("#latents-moved p", "The norm of z was").text
    noise = float(slider.get_attribute("value"))
    assert noise == pytest.approx(1, abs=0.1)
    e = trained.flow.base.sample(1, torch.Generator().manual_seed(0))
    assert number_in(text, r"was (\S+) and") == pytest.approx(z.norm().item(), abs=0.05)
    until(
        lambda: abs(number_in(page.wait("#latents-moved p").text, r"and is ([\d.]+)") - (z + noise * e).norm()) < 0.05
    )


def test_bits_are_those_of_the_library(page, trained, test_levels):
    page.tab("Bits")
    page.click("#bits-start")
    text = page.wait("#bits-shown", "bits per dimension").text
    bits = bits_of_pixels(trained.flow, test_levels[:1])[0]
    assert number_in(text, r"([\d.]+) bits per dimension") == pytest.approx(bits.mean().item(), abs=2e-3)
    assert number_in(text, r"pixel costs ([\d.]+) bits") == pytest.approx(bits.max().item(), abs=0.1)
    assert f"{N_IMAGES} test images" in page.wait("#bits-histogram figcaption").text
    assert math.isfinite(bits.sum())


def test_the_keyboard_paints(page):
    page.tab("Complete")
    page.click("#complete-canvas [data-tool=clear]")
    page.click("#complete-canvas [data-tool=pen]")
    canvas = page.wait(CANVAS)
    page.browser.execute_script("arguments[0].focus()", canvas)
    canvas.send_keys("\ue012\ue012 ")  # twice left, then space
    levels, shows_cursor = canvas_of(page)
    assert np.argwhere(shows_cursor).tolist() == [[14, 12]]
    assert levels[14, 11] > 200
    assert levels[14, 13] > 200
    assert levels[:, 15:].max() == 0


@pytest.mark.slow
def test_the_diagnosis_is_the_report(page):
    page.tab("Diagnose")
    page.click("#diagnose-start")
    page.wait("#diagnose-report p", " of ")
    page.wait("#diagnose-report iframe")
    report = page.browser.find_element("css selector", "#diagnose-report iframe").get_attribute("srcdoc")
    assert "<h1>Diagnosis of conditional</h1>" in report
    assert "images come back in float32" in report


def until(holds) -> None:
    """Wait until something holds."""
    begin = time.monotonic()
    while not holds():
        assert time.monotonic() - begin < tool.SECONDS
        time.sleep(0.1)
