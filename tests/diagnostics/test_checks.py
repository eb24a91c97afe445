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

FOLDER = Path(nf_mnist.diagnostics.__file__).parent
MODULES = sorted(
    ".".join(("nf_mnist.diagnostics", *path.relative_to(FOLDER).with_suffix("").parts))
    for path in FOLDER.rglob("*.py")
    if path.stem not in {"__init__", "pictures"}  # which draws, and imports torchvision for it
)

# A package that is there already does not run its __init__, so that the files are imported in the order of the test.
SHUFFLED = """
import importlib, sys, types
for name, folder in (("nf_mnist.diagnostics", {folder!r}), ("nf_mnist.diagnostics.checks", {folder!r} + "/checks")):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [folder]
for name in {modules}:
    importlib.import_module(name)
del sys.modules["nf_mnist.diagnostics.checks"]
print(*(check.name for check in importlib.import_module("nf_mnist.diagnostics.checks").CHECKS), sep=chr(10))
"""


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_the_checks_does_not_depend_on_the_order_of_imports(seed):
    modules = random.Random(seed).sample(MODULES, len(MODULES))
    code = SHUFFLED.format(folder=str(FOLDER), modules=modules)
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
