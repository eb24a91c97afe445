"""The documentation as a site: every page is in it, its build is strict, and it is searched without a network."""

import functools
import http.server
import importlib
import importlib.util
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from tests.support.printed import ROOT
from tools import site

SITE = ROOT / "build" / "site"
DOCUMENTED = ("bijectors", "nets", "flows", "data", "inpainting", "metrics", "diagnostics")

needs_zensical = pytest.mark.skipif(importlib.util.find_spec("zensical") is None, reason="needs the extra docs")


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(site, "PAGES", tmp_path_factory.mktemp("site") / "pages")
        site.write_pages()
        yield site.PAGES


def in_navigation(node: Any) -> set[str]:
    """Return all pages in the navigation of the site."""
    if isinstance(node, str):
        return {node}
    return set().union(*map(in_navigation, node.values() if isinstance(node, dict) else node))


def test_links_of_every_page_lead_to_pages_and_pictures(pages):
    found = sorted(pages.rglob("*.md"))
    assert len(found) > 100
    for page in found:
        text = re.sub(r"````.*?\n````", "", page.read_text(), flags=re.DOTALL)  # the content of a file
        for link in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text):
            target = page.parent / link
            assert target.is_file(), f"{page.relative_to(pages)} links to {link}"
            assert target.suffix in (".md", ".png")


def test_files_that_pages_link_to_are_pages_with_their_content(pages):
    name = "conf/model/resflow.yaml"
    page = (pages / f"{name}.md").read_text()
    assert f"# {name}\n" in page
    assert (ROOT / name).read_text() in page
    assert f"]({Path(name).name}.md)" in (pages / "conf" / "model" / "README.md").read_text()


def test_a_link_to_nothing_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(site, "ROOT", tmp_path)
    monkeypatch.setattr(site, "PAGES", tmp_path / "pages")
    (tmp_path / "README.md").write_text("[gone](docs/gone.md)")
    with pytest.raises(SystemExit, match=r"README.md links to docs/gone.md, which is not there"):
        site.write_pages()


def test_every_page_and_every_package_is_in_the_navigation(pages):
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 reads TOML")
    settings = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]
    documents = [path.relative_to(ROOT) for path in (ROOT / "docs").rglob("*.md")]
    wanted = {*map(str, documents), "README.md", "CONTRIBUTING.md", "CHANGELOG.md"}
    wanted |= {f"api/{path.name}" for path in (pages / "api").iterdir()}
    assert in_navigation(settings["nav"]) == wanted
    assert settings["theme"]["font"] is False


LINKED = "# Other\n\n## Some part\n"
PACKAGE = '"""Refers to {role}."""\n\nTEN = 10\n\n\ndef count(n: int) -> None:\n    """Count to :data:`TEN`."""\n'
MADE = [
    ("(other.md#some-part)", ":func:`~nf_mnist.count`", ""),
    ("(other.md#some-other-part)", ":func:`~nf_mnist.count`", "some-other-part"),
    ("(gone.md)", ":func:`~nf_mnist.count`", "gone.md"),
    ("(other.md)", ":func:`~nf_mnist.recount`", "nf_mnist.recount"),
    ("(other.md)", ":data:`TWELVE`", "TWELVE"),
]


@pytest.mark.slow
@needs_zensical
@pytest.mark.parametrize(("link", "role", "said"), MADE)
def test_the_build_is_strict(link, role, said, tmp_path):
    settings = re.sub(r"(?ms)^nav = \[.*?^\]$", "", (ROOT / "zensical.toml").read_text())
    (tmp_path / "zensical.toml").write_text(settings)
    shutil.copytree(ROOT / "tools", tmp_path / "tools")
    for name, text in {
        "build/pages/README.md": f"# Home\n\n[other]{link}\n",
        "build/pages/other.md": LINKED,
        "build/pages/api.md": "::: nf_mnist\n",
        "src/nf_mnist/__init__.py": PACKAGE.format(role=role),
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    printed = re.sub(r"\x1b\[[\d;]*m", "", finished.stdout + finished.stderr)
    assert (finished.returncode == 0) == (said == ""), printed
    assert said in printed
    if not said:
        page = (tmp_path / "build" / "site" / "api" / "index.html").read_text()
        assert 'href="#nf_mnist.count"' in page
        assert 'href="#nf_mnist.TEN"' in page


@pytest.fixture(scope="module")
def built() -> Iterator[Path]:
    SITE.parent.mkdir(exist_ok=True)
    with FileLock(SITE.parent / "site.lock"):  # two workers of pytest would build in the same folder
        finished = subprocess.run(
            [sys.executable, "-m", "tools.site"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert finished.returncode == 0, finished.stdout + finished.stderr
        yield SITE


@pytest.mark.slow
@needs_zensical
def test_the_site_has_all_public_names_and_asks_no_other_server(built):
    for part in DOCUMENTED:
        page = (built / "api" / part / "index.html").read_text()
        names = importlib.import_module(f"nf_mnist.{part}").__all__
        assert [name for name in names if not re.search(rf'id="nf_mnist[\w.]*\.{name}"', page)] == []
    assert "Log-determinants are in nats" in (built / "api" / "bijectors" / "index.html").read_text()
    for path in built.rglob("*.html"):
        loaded = re.findall(r'<(?:script|img|iframe)[^>]*\ssrc="?([^"\s>]+)', path.read_text())
        loaded += re.findall(r'<link[^>]*rel="?(?:stylesheet|preconnect|icon)[^>]*href="?([^"\s>]+)', path.read_text())
        assert [url for url in loaded if re.match(r"(?:https?:)?//", url)] == [], path


@pytest.mark.browser
@needs_zensical
def test_search_finds_a_page_and_the_first_screen_has_a_picture(built):
    if shutil.which("chromedriver") is None:
        pytest.skip("Chromium is not installed")
    webdriver = pytest.importorskip("selenium.webdriver")
    screenshots = importlib.import_module("tools.screenshots")
    options = webdriver.ChromeOptions()
    for option in (*screenshots.OPTIONS, "--window-size=1200,800"):
        options.add_argument(option)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(built))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        service = webdriver.ChromeService(shutil.which("chromedriver"))
        browser = webdriver.Chrome(options=options, service=service)
        try:
            browser.get(address)
            picture = browser.find_element("css selector", "article img")
            assert picture.get_property("naturalWidth") > 0
            assert picture.rect["y"] + picture.rect["height"] < 800
            browser.find_element("css selector", "body").send_keys("/")
            browser.switch_to.active_element.send_keys("dequantization")
            found = []
            for _ in range(60):
                time.sleep(1)
                links = browser.find_elements("css selector", "a[href*='concepts']")
                found = [link for link in links if "h=" in link.get_attribute("href") or link.is_displayed()]
                if found:
                    break
            assert found, "the search finds no page about dequantization"
            loaded = browser.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
            assert loaded
            assert [url for url in loaded if not url.startswith(("data:", "blob:", address))] == []
        finally:
            browser.quit()
            server.shutdown()
