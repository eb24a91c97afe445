"""Run the notebooks and write them as pages, with their output: ``python -m tools.notebooks [NAME ...]``.

Pages go to ``docs/notebooks/``, their pictures to folders beside them. An old page is replaced only after its notebook
has run to the end.
"""

import re
import sys
import tempfile

import nbformat
from nbclient import NotebookClient
from nbconvert import MarkdownExporter
from nbformat import NotebookNode

from tools.from_results import ROOT

NOTEBOOKS, PAGES = ROOT / "notebooks", ROOT / "docs" / "notebooks"
FOLDER, PLACEHOLDER = (
    re.compile(rf"{tempfile.gettempdir()}/tmp\w{{8}}"),
    "/tmp/tmpXXXXXXXX",
)  # of the same length, so tables stay aligned
LINKS = {"](../docs/": "](../", ".ipynb)": ".md)"}  # in a notebook, and in its page


def write_page(name: str) -> None:
    """Run a notebook and write its page, without warnings and temporary paths, which name files of this machine."""
    notebook = nbformat.read(NOTEBOOKS / f"{name}.ipynb", as_version=4)
    NotebookClient(notebook, timeout=1800, resources={"metadata": {"path": NOTEBOOKS}}).execute()
    for cell in (cell for cell in notebook.cells if cell.cell_type == "code"):
        cell.outputs = _joined([output for output in cell.outputs if not _is_passing(output)])
        for output in cell.outputs:
            if "text/plain" in output.get("data", {}):
                output.data.pop("text/html", None)  # of tables, which are readable as plain text
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


def _is_passing(output: NotebookNode) -> bool:
    """Return whether an output is for who waits: a warning, or a progress bar."""
    return output.get("name") == "stderr" or "<progress" in output.get("data", {}).get("text/html", "")


def _joined(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Join what a cell prints in several pieces, which may end within a line."""
    joined: list[NotebookNode] = []
    for output in outputs:
        if joined and output.output_type == joined[-1].output_type == "stream":
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


if __name__ == "__main__":
    for name in sys.argv[1:] or [path.stem for path in sorted(NOTEBOOKS.glob("*.ipynb"))]:
        write_page(name)
