"""The list of checks: its order, and what each check says about itself."""

import importlib
import random
import subprocess
import sys
from pathlib import Path

import pytest

import nf_mnist.diagnostics
from nf_mnist.diagnostics import CHECKS, Check
from tests.support.diagnosis_tasks import NAMES

MODULES = sorted(
    f"nf_mnist.diagnostics.{path.stem}"
    for path in Path(nf_mnist.diagnostics.__file__).parent.glob("*.py")
    if path.stem not in {"__init__", "pictures"}  # which draws, and imports torchvision for it
)


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_the_checks_does_not_depend_on_the_order_of_imports(seed):
    modules = random.Random(seed).sample(MODULES, len(MODULES))
    imports = "; ".join(f"import {module}" for module in modules)
    # A package that is there already does not run its __init__, so that the files are imported in this order.
    package = "import sys, types; p = types.ModuleType('nf_mnist.diagnostics'); sys.modules[p.__name__] = p"
    path = f"p.__path__ = [{str(Path(nf_mnist.diagnostics.__file__).parent)!r}]"
    show = "print(*(check.name for check in sys.modules['nf_mnist.diagnostics.checks'].CHECKS), sep=chr(10))"
    code = f"{package}; {path}; {imports}; {show}"
    printed = subprocess.run([sys.executable, "-c", code], check=True, timeout=300, capture_output=True, text=True)
    assert printed.stdout.splitlines() == NAMES


def test_each_check_is_listed_once():
    assert len(set(NAMES)) == len(NAMES)
    for module in MODULES:
        defined = {value for value in vars(importlib.import_module(module)).values() if isinstance(value, Check)}
        assert defined <= set(CHECKS), module


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.name)
def test_each_check_says_what_it_expects_why_and_what_to_do(check):
    assert check.explanation
    assert check.cause
    assert check.remedy
    assert check.warn <= check.fail
    assert set(check.needs) <= set(CHECKS[: CHECKS.index(check)]), "a check comes after those that it needs"
