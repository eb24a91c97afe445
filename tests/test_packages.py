"""What a package exports has a name of its own: no function hides the module of its name."""

import ast
from pathlib import Path

import pytest

import nf_mnist

ROOT = Path(nf_mnist.__file__).parent
PACKAGES = sorted(path.parent.relative_to(ROOT.parent).as_posix() for path in ROOT.rglob("__init__.py"))


def exported(package: Path) -> set[str]:
    """Return the names that the ``__init__`` of a package imports or defines."""
    body = ast.parse((package / "__init__.py").read_text()).body
    imported = {alias.asname or alias.name for node in body if isinstance(node, ast.ImportFrom) for alias in node.names}
    defined = {node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    return imported | defined


def modules(package: Path) -> set[str]:
    """Return the names of the modules and packages in a package."""
    return {path.stem for path in package.glob("*.py")} | {path.parent.name for path in package.glob("*/__init__.py")}


@pytest.mark.parametrize("package", PACKAGES)
def test_no_exported_name_is_that_of_a_module(package):
    folder = ROOT.parent / package
    assert not exported(folder) & modules(folder)


def test_builders_have_the_names_that_configurations_use():
    builders = modules(ROOT / "flows" / "builders") - {"__init__"}
    assert len(builders) > 5
    assert builders <= exported(ROOT / "flows")
