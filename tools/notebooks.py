"""Run the notebooks and write them, with what they print and draw, as pages: ``python -m tools.notebooks [NAME ...]``.

A page for each goes to ``docs/notebooks/``, its pictures to a folder beside it. A page that is there is replaced when
its notebook has run to its end.
"""

import re
import sys
import tempfile

import nbformat
from nbclient import NotebookClient
from nbconvert import MarkdownExporter

from tools.from_results import ROOT

NOTEBOOKS, PAGES = ROOT / "notebooks", ROOT / "docs" / "notebooks"
FOLDER, PLACEHOLDER = re.compile(rf"{tempfile.gettempdir()}/tmp\w{{8}}"), "/tmp/tmpXXXXXXXX"  # as long, so tables stay
LINKS = {"](../docs/": "](../", ".ipynb)": ".md)"}  # of a notebook, and of its page


def write_page(name: str) -> None:
    """Run a notebook and write its page, without what names files of this machine: warnings, a temporary folder."""
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    NotebookClient(notebook, timeout=1800, resources={"metadata": {"path": NOTEBOOKS}}).execute()
    for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
        cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    page, extracted = MarkdownExporter().from_notebook_node(
        notebook, {"unique_key": name, "output_files_dir": f"{name}_files"}
    )
    for written, read in LINKS.items():
        page = page.replace(written, read)
    page = FOLDER.sub(PLACEHOLDER, page)
    pictures = PAGES / f"{name}_files"
    pictures.mkdir(parents=True, exist_ok=True)
    for old in pictures.iterdir():
        old.unlink()
    for picture, content in extracted["outputs"].items():
        (PAGES / picture).write_bytes(content)
    (PAGES / f"{name}.md").write_text("\n".join(line.rstrip() for line in page.strip().splitlines()) + "\n")


if __name__ == "__main__":
    for name in sys.argv[1:] or [path.stem for path in sorted(NOTEBOOKS.glob("*.ipynb"))]:
        write_page(name)
