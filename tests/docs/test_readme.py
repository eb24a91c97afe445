"""What README says is what is there; links and commands of all documents are in test_docs.py."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_tables_are_generated_from_results():
    subprocess.run([sys.executable, "-m", "tools.tables", "--check"], check=True, cwd=ROOT)


def test_the_tree_names_folders_that_exist():
    tree = re.search(r"```text\nsrc/nf_mnist/\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert tree is not None
    for line in tree[1].splitlines():
        base = ROOT / "src" / "nf_mnist" if line.startswith("  ") else ROOT
        for name in re.findall(r"^\s*((?:[\w.]+/|[\w]+\.py)(?:  ?[\w]+\.py)*)", line):
            for part in name.split():
                assert (base / part).exists(), part
