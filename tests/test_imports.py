"""Imports point one way, down the floors of the project."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import nf_mnist

PACKAGE = Path(nf_mnist.__file__).parent
ROOT = PACKAGE.parents[1]
FILES = sorted(PACKAGE.rglob("*.py"))

# From the top floor down: a file may import its own package and those on lower floors.
FLOORS = [
    {"commands"},
    {"runs", "page"},
    {"app"},
    {"training"},
    {"diagnostics", "inpainting"},
    {"metrics"},
    {"flows", "adapters"},
    {"nets", "bijectors", "data"},
    {"bars", "checkpoints", "cores", "hardware", "pages", "plots"},
    {"bfloat16"},
    {"errors", "overrides", "process"},
]
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}
# Beside the floors: conditioners of couplings are given to bijectors, which know no network.
NEVER = {("bijectors", "nets"), ("bijectors", "data"), ("nets", "data"), ("data", "bijectors"), ("data", "nets")}
# The same inside of nf_mnist.diagnostics, whose task is what checks look at and whose base is what a check is.
DIAGNOSIS_FLOORS = [{"running", "report"}, {"checks"}, {"causes"}, {"base"}, {"task"}, {"measures"}, {"access"}]
DIAGNOSIS_FLOOR = {name: number for number, names in enumerate(DIAGNOSIS_FLOORS) for name in names}
LIBRARIES = {
    "lightning": {"training"},
    "hydra": {"app", "runs", "commands"},
    "omegaconf": {"app", "runs", "page", "commands"},
    "gradio": {"page"},
}
COMMANDS = {path.stem for path in PACKAGE.glob("*.py") if path.stem not in {"__init__", *FLOOR}}


def module_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


def room(module: str) -> str:
    name = module.split(".")[1]
    return "commands" if name in COMMANDS else name


def imports(path: Path, with_types: bool = False) -> set[str]:
    """Return the modules that a file imports at run time, anywhere in it; with types: also those for annotations."""
    tree = ast.parse(path.read_text())
    for_types = [
        node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    ]
    skipped = set() if with_types else {id(inner) for node in for_types for inner in ast.walk(node)}
    found = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module or "" for name in names}
    return found


@pytest.mark.parametrize("module", [name for name in MODULES if name != "nf_mnist"])
def test_imports_point_one_way(module):
    own, found = room(module), imports(MODULES[module])
    for target in (name for name in found if name.startswith("nf_mnist.")):
        other = room(target)
        assert (
            own == other or FLOOR[own] < FLOOR[other] or (FLOOR[own] == FLOOR[other] and (own, other) not in NEVER)
        ), f"{module} imports {target}, which is not on a lower floor"
        assert (own, other) not in NEVER
    for library, users in LIBRARIES.items():
        assert own in users or library not in {name.split(".")[0] for name in found}, f"{module} imports {library}"


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("nf_mnist.diagnostics.")])
def test_the_rooms_of_the_diagnosis_import_one_way(module):
    own = DIAGNOSIS_FLOOR[module.split(".")[2]]
    for target in (name for name in imports(MODULES[module]) if name.startswith("nf_mnist.diagnostics.")):
        assert own <= DIAGNOSIS_FLOOR[target.split(".")[2]], f"{module} imports {target}, which is on a higher floor"


def test_no_two_files_import_each_other():
    graph = {name: {target for target in imports(path) if target in MODULES} for name, path in MODULES.items()}
    pairs = {(one, other) for one in graph for other in graph[one] if one < other and one in graph[other]}
    assert not pairs


def test_the_maths_runs_without_lightning_and_hydra():
    parts = ", ".join(f"nf_mnist.{name}" for name in ("flows", "diagnostics", "inpainting", "plots", "metrics", "data"))
    check = f"import sys, {parts}; sys.exit(' '.join({{'lightning', 'hydra'}} & sys.modules.keys()) or 0)"
    subprocess.run([sys.executable, "-c", check], check=True, timeout=300)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_file_of_a_command_is_short(name):
    assert len((PACKAGE / f"{name}.py").read_text().splitlines()) <= 60


def test_benchmarks_riddles_and_tools_do_not_import_tests():
    files = [path for folder in ("benchmarks", "riddles", "tools") for path in (ROOT / folder).rglob("*.py")]
    assert files
    for path in files:
        assert not {name for name in imports(path) if name.split(".")[0] == "tests"}, path


def test_nothing_patches_the_search_path():
    patched = "sys" + ".path"
    for folder in ("src", "tests", "benchmarks", "riddles", "tools"):
        for path in (ROOT / folder).rglob("*.py"):
            assert patched not in path.read_text(), path
