"""Imports point one way."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import nf_mnist

PACKAGE = Path(nf_mnist.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
COMMANDS = {
    "train",
    "evaluate",
    "evaluation",
    "diagnose",
    "sample",
    "inpaint",
    "export",
    "train_classifier",
    "rerun",
    "runs",
    "sweep_report",
    "sweeps",
    "cli",
    "config",
    "checks",
    "targets",
}

# Which parts of nf_mnist a part may import, besides errors.
MAY_IMPORT = {
    "errors": set(),
    "metrics": set(),
    "bijectors": {"bijectors"},
    "nets": {"nets", "bijectors"},
    "flows": {"flows", "nets", "bijectors"},
    "data": {"data"},
    "adapters": {"bijectors"},
    "plots": {"metrics"},
    "diagnostics": {"diagnostics", "flows", "bijectors", "data", "metrics"},
    "quality": {"quality", "flows", "nets", "data"},
    "inpainting": {"inpainting", "flows", "bijectors", "data"},
    "training": {
        "training",
        "flows",
        "nets",
        "inpainting",
        "bijectors",
        "data",
        "diagnostics",
        "metrics",
        "plots",
        "quality",
    },
    "report": set(),
}
LIBRARIES = {"lightning": {"training"}, "hydra": COMMANDS, "omegaconf": COMMANDS}


def part(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imports(path: Path) -> set[str]:
    """Return the names of all modules that a file imports at run time, anywhere in it."""
    tree = ast.parse(path.read_text())
    for_types = [
        node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    ]
    skipped = {id(inner) for node in for_types for inner in ast.walk(node)}
    found = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    own = {name.split(".")[1] for name in imports(path) if name.startswith("nf_mnist.")} - {"errors"}
    if part(path) in MAY_IMPORT:
        assert own <= MAY_IMPORT[part(path)]
    else:
        assert part(path) in COMMANDS | {"__init__"}
    for library, users in LIBRARIES.items():
        assert part(path) in users or library not in {name.split(".")[0] for name in imports(path)}


def test_the_maths_runs_without_lightning_and_hydra():
    parts = ", ".join(f"nf_mnist.{name}" for name in ("flows", "diagnostics", "plots", "metrics", "data", "quality"))
    check = f"import sys, {parts}; sys.exit(' '.join({{'lightning', 'hydra'}} & sys.modules.keys()) or 0)"
    subprocess.run([sys.executable, "-c", check], check=True, timeout=300)
