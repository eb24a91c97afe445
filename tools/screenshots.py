"""Take screenshots of TensorBoard in a headless Chromium: ``python -m tools.screenshots LOGDIR [OUT]``.

Writes ``tensorboard_NAME.png`` to OUT, which defaults to ``docs/images``. Chromium and its driver come from the system
(``apt-get install chromium chromium-driver``), selenium from ``pip install -e .[browser]``.
"""

import argparse
import contextlib
import io
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

IMAGES = Path(__file__).parents[1] / "docs" / "images"
OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars")
WIDTH, HEIGHT = 1500, 850
SECONDS = 120  # timeout for a page or a server
N_COLORS = 64  # colors in the palette of a picture; few keep it small

# For each tab, an element that appears once it is filled. TensorBoard's elements are in shadow trees, which plain
# selectors do not enter.
TABS = {
    "timeseries": "card-view",
    "scalars": "vz-line-chart2",
    "custom_scalars": "vz-line-chart2",
    "images": "img",
    "distributions": "vz-distribution-chart",
    "histograms": "vz-histogram-timeseries",
    "text": "table",
    "hparams": "vaadin-grid",
}
# Pictures of the documentation: name, and the part of the address after #.
PICTURES = {
    "custom_scalars": "custom_scalars",
    "images": "images",
    "latents": "images&tagFilter=latent",
    "hparams": "hparams",
}
FIND = """
const inside = node => [...(node.shadowRoot ? node.shadowRoot.childNodes : []), ...node.childNodes];
const text = node => node.nodeType === Node.TEXT_NODE ? node.data
    : ["STYLE", "SCRIPT"].includes(node.nodeName) ? "" : inside(node).map(text).join(" ");
const found = [];
const walk = node => { for (const child of inside(node)) {
    if (child.nodeType !== Node.ELEMENT_NODE) continue;
    if (child.matches(arguments[0]) && child.getBoundingClientRect().width > 0) found.push(text(child));
    walk(child);
} };
walk(document);
return found;
"""


class Dashboard:
    """TensorBoard on a folder of runs, shown in a headless Chromium.

    Args:
        logdir: Folder of the runs.
    """

    def __init__(self, logdir: Path) -> None:
        self.logdir = logdir

    def __enter__(self) -> "Dashboard":
        command = (sys.executable, "-m", "tensorboard.main", "--logdir", str(self.logdir), "--port", "0")
        with contextlib.ExitStack() as stack:
            server = stack.enter_context(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
            stack.callback(server.terminate)
            self.url = _address(server)
            self.browser = stack.enter_context(chromium(WIDTH, HEIGHT))
            self._running = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._running.close()

    def open(self, tab: str) -> None:
        """Open a tab and wait until it is filled.

        Args:
            tab: A key of :data:`TABS`, optionally with parameters of TensorBoard: ``images&tagFilter=latent``.
        """
        self.browser.get("about:blank")  # changing only the anchor would load nothing
        self.browser.get(f"{self.url}#{tab}")
        self.find(TABS[tab.partition("&")[0]])

    def find(self, selector: str) -> list[str]:
        """Wait for elements of a selector and return their texts.

        Raises:
            TimeoutError: If there are none after :data:`SECONDS`.
        """
        begin = time.monotonic()
        while not (found := self.browser.execute_script(FIND, selector)):
            if time.monotonic() - begin > SECONDS:
                raise TimeoutError(f"there is no {selector!r} on {self.browser.current_url} after {SECONDS} s")
            time.sleep(0.5)
        return found

    def save(self, path: Path) -> None:
        """Save a screenshot."""
        save_screenshot(self.browser, path)


@contextlib.contextmanager
def chromium(width: int, height: int) -> Iterator[webdriver.Chrome]:
    """Run a headless Chromium whose window has this size in pixels."""
    options = Options()
    for option in (*OPTIONS, f"--window-size={width},{height}"):
        options.add_argument(option)
    browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        browser.set_page_load_timeout(SECONDS)
        browser.set_script_timeout(SECONDS)
        yield browser
    finally:
        browser.quit()


def save_screenshot(browser: webdriver.Chrome, path: Path) -> None:
    """Save what a browser shows as a small PNG."""
    picture = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
    picture.quantize(N_COLORS).save(path, optimize=True)


def _address(server: "subprocess.Popen[str]") -> str:
    """Return the address that TensorBoard prints."""
    for line in server.stderr or ():
        if found := re.search(r"http://\S+/", line):
            return found[0]
    raise RuntimeError("TensorBoard ended before it served anything")


def main() -> None:
    """Take screenshots of the tabs that the documentation shows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("logdir", type=Path)
    parser.add_argument("out", type=Path, nargs="?", default=IMAGES)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with Dashboard(options.logdir) as dashboard:
        for name, tab in PICTURES.items():
            dashboard.open(tab)
            time.sleep(3)  # charts are drawn only when visible
            dashboard.save(options.out / f"tensorboard_{name}.png")


if __name__ == "__main__":
    main()
