"""Take screenshots of the page of ``nf_mnist.play`` in a headless Chromium: ``python -m tools.play_screenshots [OUT]``.

Writes ``play_NAME.png`` to OUT, which defaults to ``docs/images``. See :mod:`tools.screenshots` for what is needed.
"""

import argparse
import contextlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tools.screenshots import IMAGES, chromium, save_screenshot

DESKTOP, PHONE = (1200, 1000), (390, 844)
SIDE = 28  # pixels of the canvas
SECONDS = 900  # timeout for an answer of the page on a busy machine


class PlayPage:
    """The page of a flow, served by the command itself and shown in a headless Chromium.

    Args:
        log: File for all that the command prints: the address, and nothing more.
        settings: Settings of the command besides its port.
    """

    def __init__(self, log: Path, settings: Sequence[str] = ()) -> None:
        self.log, self.settings = log, settings

    def __enter__(self) -> "PlayPage":
        with socket.socket() as trial:
            trial.bind(("127.0.0.1", 0))
            port = trial.getsockname()[1]
        command = (sys.executable, "-m", "nf_mnist.play", f"port={port}", *self.settings)
        with contextlib.ExitStack() as stack:
            log = stack.enter_context(self.log.open("w"))
            server = stack.enter_context(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT))
            stack.callback(server.terminate)
            while "Ctrl-C" not in self.log.read_text():
                if server.poll() is not None:
                    raise RuntimeError(f"the page was not served: {self.log.read_text()}")
                time.sleep(0.1)
            self.url = self.log.read_text().split()[0]
            self.browser = stack.enter_context(chromium(*DESKTOP))
            self.open()
            self._running = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._running.close()

    def open(self, size: tuple[int, int] | None = None) -> None:
        """Load the page, in the window or on a screen of another width and height."""
        if size is not None:
            screen = {"width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": True}
            self.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        self.browser.get(self.url)
        self.wait("canvas")

    def tab(self, name: str) -> None:
        """Open a tab by its title."""
        for _ in range(2):  # in a narrow window the last tabs are behind a menu
            for button in self.browser.find_elements(By.CSS_SELECTOR, "button[role=tab], .overflow-dropdown button"):
                if button.text == name:
                    return button.click()
            self.browser.find_element(By.CSS_SELECTOR, ".overflow-menu > button").click()
        raise LookupError(f"there is no tab {name!r}")

    def wait(self, selector: str, text: str = "") -> WebElement:
        """Wait for a visible element whose text holds some text, and return it.

        Raises:
            TimeoutError: If there is none after :data:`SECONDS`.
        """
        begin = time.monotonic()
        while time.monotonic() - begin < SECONDS:
            with contextlib.suppress(Exception):  # elements come and go
                for element in self.browser.find_elements(By.CSS_SELECTOR, selector):
                    if element.is_displayed() and text in element.text:
                        return element
            time.sleep(0.1)
        raise TimeoutError(f"there is no {selector!r} with {text!r} after {SECONDS} s")

    def click(self, selector: str) -> None:
        """Click on an element once it is there."""
        self.wait(selector).click()

    def stroke(self, selector: str, points: Sequence[tuple[float, float]]) -> None:
        """Draw a stroke on a canvas, from pixel to pixel given as column and row."""
        canvas = self.wait(selector)
        scale = canvas.size["width"] / SIDE
        places = [(round((x + 0.5 - SIDE / 2) * scale), round((y + 0.5 - SIDE / 2) * scale)) for x, y in points]
        moves = ActionChains(self.browser, duration=50)
        moves.move_to_element_with_offset(canvas, *places[0]).click_and_hold()
        for place in places[1:]:
            moves.move_to_element_with_offset(canvas, *place)
        moves.release().perform()

    def save(self, path: Path) -> None:
        """Save a screenshot from the top of the page."""
        self.browser.execute_script("window.scrollTo(0, 0)")
        time.sleep(0.5)
        save_screenshot(self.browser, path)


def take(page: PlayPage, out: Path, suffix: str) -> None:
    """Take screenshots of the tabs."""
    page.click("#complete-canvas [data-tool=hide]")
    for row in (17, 20, 23, 26):
        page.stroke("#complete-canvas canvas", [(2, row), (25, row)])
    page.click("#complete-start")
    page.wait("#complete-summary p", "16 of 16")
    page.save(out / f"play_complete{suffix}.png")
    page.tab("Sample")
    page.click("#sample-start")
    page.click("#sample-grid button:nth-child(4)")
    page.wait("#sample-chosen p", "classifier")
    page.save(out / f"play_sample{suffix}.png")
    page.tab("Latents")
    page.click("#latents-start")
    page.wait("#latents-circle p")
    slider = page.wait("#noise input[type=range]")
    ActionChains(page.browser).click(slider).perform()
    page.wait("#latents-moved p")
    page.save(out / f"play_latents{suffix}.png")
    page.tab("Bits")
    page.click("#bits-start")
    page.wait("#bits-shown p")
    page.save(out / f"play_bits{suffix}.png")


def main() -> None:
    """Take all screenshots that the documentation shows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, nargs="?", default=IMAGES)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, PlayPage(Path(folder) / "log.txt") as page:
        take(page, options.out, "")
        page.open(PHONE)
        take(page, options.out, "_phone")


if __name__ == "__main__":
    main()
