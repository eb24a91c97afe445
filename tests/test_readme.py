"""What README and docs say is what is there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from nf_mnist.config import config_dir

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_tables_are_generated_from_results():
    subprocess.run([sys.executable, str(ROOT / "docs" / "tables.py"), "--check"], check=True)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_pictures_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text()):
        if "://" not in target:
            assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_groups_and_make_targets_that_are_named_exist(document):
    text, conf = document.read_text(), Path(config_dir())
    for group, names in re.findall(r"\b(model|data|experiment|callbacks|logger|optimizer|scheduler)=([\w,]+)", text):
        for name in names.split(","):
            assert (conf / group / f"{name}.yaml").exists(), f"{group}={name}"
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)|^make ([a-z-]+)", text, re.MULTILINE)) <= {
        pair for target in targets for pair in ((target, ""), ("", target))
    }


def test_the_tree_names_folders_that_exist():
    tree = re.search(r"```text\nsrc/nf_mnist/\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert tree is not None
    for line in tree[1].splitlines():
        base = ROOT / "src" / "nf_mnist" if line.startswith("  ") else ROOT
        for name in re.findall(r"^\s*((?:[\w.]+/|[\w]+\.py)(?:  ?[\w]+\.py)*)", line):
            for part in name.split():
                assert (base / part).exists(), part
