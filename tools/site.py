"""Build the documentation as a site in ``build/site``: ``python -m tools.site``; with ``serve``, also show it.

The pages in ``build/pages`` mirror the repository, so that a link which works there works on the site: the Markdown
files as they are, each other file that they link to as a page with its content, and a page of reference for each
package. Zensical builds the site from them, strictly: a broken link or a missing reference is an error.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tools.from_results import ROOT

PACKAGE, PAGES = ROOT / "src" / "nf_mnist", ROOT / "build" / "pages"
LINK = re.compile(r"\]\(([^)#:\s]+)(#[^)]*)?\)")  # of Markdown, to a file
LANGUAGES = {".py": "python", ".yaml": "yaml", ".json": "json", ".toml": "toml"}
NOT_SEARCHED = "---\nsearch:\n  exclude: true\n---\n"


def write_pages() -> None:
    """Write all pages anew."""
    shutil.rmtree(PAGES, ignore_errors=True)
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        _page_of(path)
    for package in sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py")):
        _write(PAGES / "api" / f"{package}.md", f"::: nf_mnist.{package}\n")
    modules = sorted(path.stem for path in PACKAGE.glob("[!_]*.py"))
    parts = ["::: nf_mnist\n    options:\n      show_submodules: false\n"]
    parts += [f"::: nf_mnist.{name}\n    options:\n      heading_level: 2\n" for name in modules]
    _write(PAGES / "api" / "nf_mnist.md", "\n".join(parts))


def _page_of(path: Path) -> Path:
    """Return the page, or the picture, that stands for a file or folder of the repository; write it if it is new."""
    mirrored = PAGES / path.relative_to(ROOT)
    if path.suffix == ".ipynb":
        return _page_of(ROOT / "docs" / "notebooks" / f"{path.stem}.md")
    if path.is_dir():
        return _page_of(path / "README.md") if (path / "README.md").exists() else _listing(path, mirrored / "README.md")
    if path.suffix == ".md":
        return mirrored if mirrored.exists() else _markdown(path, mirrored)
    if path.suffix == ".png":
        mirrored.parent.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copyfile(path, mirrored))
    content = f"````{LANGUAGES.get(path.suffix, 'text')}\n{path.read_text().rstrip()}\n````\n"
    return _write(mirrored.with_name(f"{path.name}.md"), f"{NOT_SEARCHED}# {path.relative_to(ROOT)}\n\n{content}")


def _markdown(path: Path, page: Path) -> Path:
    """Write a Markdown file whose links lead to pages."""
    _write(page, "")  # its links may lead back to it

    def linked(link: re.Match[str]) -> str:
        target = (path.parent / link[1]).resolve()
        if not target.exists():
            raise SystemExit(f"{path.relative_to(ROOT)} links to {link[1]}, which is not there")
        return f"]({os.path.relpath(_page_of(target), page.parent)}{link[2] or ''})"

    return _write(page, LINK.sub(linked, path.read_text()))


def _listing(folder: Path, page: Path) -> Path:
    """Write a page that leads to the pages of all files in a folder."""
    files = [path for path in sorted(folder.iterdir()) if path.is_file()]
    links = [f"- [{path.name}]({os.path.relpath(_page_of(path), page.parent)})\n" for path in files]
    return _write(page, f"{NOT_SEARCHED}# {folder.relative_to(ROOT)}\n\n{''.join(links)}")


def _write(page: Path, text: str) -> Path:
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(text)
    return page


if __name__ == "__main__":
    write_pages()
    command = ["serve"] if sys.argv[1:] == ["serve"] else ["build", "--clean", "--strict"]
    sys.exit(subprocess.run([sys.executable, "-m", "zensical", *command], cwd=ROOT, check=False).returncode)
