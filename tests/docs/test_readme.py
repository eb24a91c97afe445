"""The README is short and true; test_docs.py tests the links and commands of all documents."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_tables_are_generated_from_results():
    subprocess.run([sys.executable, "-m", "tools.tables", "--check"], check=True, cwd=ROOT)


def test_it_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 130


def test_the_tree_names_folders_that_exist():
    tree = re.search(r"```text\nsrc/nf_mnist/\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert tree is not None
    named = set()
    for line in tree[1].splitlines():
        base = ROOT / "src" / "nf_mnist" if line.startswith("  ") else ROOT
        paths = {base / part for part in re.findall(r"(?<![\w/])(?:\w+/|\w+\.py)(?!\w)", line)}
        assert [path for path in paths if not path.exists()] == []
        named |= paths
    packages = {path.parent for path in (ROOT / "src" / "nf_mnist").glob("*/__init__.py")}
    assert packages <= named
