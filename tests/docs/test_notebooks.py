"""Notebooks run from top to bottom, are stored without their outputs, and have up-to-date pages."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
PAGES = FOLDER.parent / "docs" / "notebooks"

nbformat = pytest.importorskip("nbformat")
NEEDS = {"other_libraries": ("normflows", "nflows", "zuko", "FrEIA")}
notebooks = pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ipynb")), ids=lambda path: path.stem)


@notebooks
def test_outputs_are_stripped(path):
    for cell in nbformat.read(path, as_version=4).cells:
        assert not cell.get("outputs"), cell.source
        assert cell.get("execution_count") is None, cell.source


@notebooks
def test_its_page_is_up_to_date(path):
    lines = (PAGES / f"{path.stem}.md").read_text().splitlines()
    for cell in nbformat.read(path, as_version=4).cells:
        for line in cell.source.replace("](../docs/", "](../").replace(".ipynb)", ".md)").splitlines():
            assert line.rstrip() in lines, f"run make notebooks: {line}"


@pytest.mark.slow
@notebooks
def test_a_notebook_runs_and_leaves_nothing_behind(path):
    from nbclient import NotebookClient

    for library in NEEDS.get(path.stem, ()):
        pytest.importorskip(library)
    before = set(FOLDER.rglob("*"))
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(notebook, timeout=1800, kernel_name="python3", resources={"metadata": {"path": FOLDER}})
    client.execute()
    assert any(cell.get("outputs") for cell in notebook.cells)
    assert set(FOLDER.rglob("*")) == before
