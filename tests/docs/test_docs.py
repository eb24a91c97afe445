"""Links of the README and docs lead somewhere, and the commands and the Python that they print work."""

import importlib.util
import re
import shutil
from pathlib import Path

import pytest
import torch
from torchvision.io import write_png

from nf_mnist.app.composing import config_dir
from nf_mnist.app.settings import RANGES, check_ranges
from tests.support.helpers import run_command
from tests.support.printed import (
    CHECKPOINTS,
    DOCUMENTS,
    ROOT,
    Printed,
    composed,
    is_composed,
    joined,
    printed_commands,
    reduced,
    without_sweep,
    write_digits,
)

PRINTED = printed_commands()
COMMANDS = [command for command in PRINTED if is_composed(command)]
NEEDED = {"ckpt", "flow._target_"}  # every command but training needs one of them
GROUPS = r"\b(model|data|experiment|callbacks|logger|optimizer|scheduler|method|sweep|launcher|debug)=([\w,]+)"
BEST = "outputs/quickstart/DATE/checkpoints/best.ckpt"
TRAINED = {  # the runs that documents name, by folder
    "outputs/quickstart/DATE": ["experiment=quickstart"],
    "outputs/classes": ["model=hierarchical_small", "model.flow.n_classes=10"],
    "outputs/conditional": ["model=conditional"],
    "outputs/conditional_1h": ["model=conditional"],
    "outputs/conditional_distorted": ["model=conditional"],
    "outputs/conditional_upper": ["model=conditional"],
    "outputs/conditional_upper_distorted": ["model=conditional"],
    "outputs/hierarchical_1h": ["experiment=hierarchical_1h"],
    "outputs/shifted": ["experiment=hierarchical_1h"],
    "outputs/tarflow": ["experiment=tarflow_2h"],
    "outputs/flow_matching": ["experiment=flow_matching_2h"],
}
MY_MODULE = """
from nf_mnist.bijectors import ActNorm, Flatten, Logit, Sequential

def build():
    return Sequential([Logit(), ActNorm((1, 28, 28)), Flatten((1, 28, 28))])
"""

documents = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def anchors(path: Path) -> set[str]:
    """Return GitHub's anchors of the headings of a document."""
    text = re.sub(r"```.*?```", "", path.read_text(), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    "document", [*DOCUMENTS, *(ROOT / "docs" / "notebooks").glob("*.md")], ids=lambda path: str(path.relative_to(ROOT))
)
def test_links_pictures_and_anchors_exist(document):
    for link in re.findall(r"\]\(([^)]+)\)", document.read_text()):
        target, _, anchor = link.partition("#")
        if "://" not in target:
            path = document.parent / target if target else document
            assert path.exists(), link
            assert not anchor or anchor in anchors(path), link


@documents
def test_named_groups_and_make_targets_exist(document):
    text, conf = document.read_text(), Path(config_dir())
    for group, names in re.findall(GROUPS, text):
        for name in names.split(","):
            assert name == "NAME" or (conf / group / f"{name}.yaml").exists(), f"{group}={name}"
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {
        one or other for one, other in re.findall(r"`make ([a-z-]+)|^make ([a-z-]+)", text, re.MULTILINE)
    } <= targets


@pytest.mark.parametrize(
    ("name", "called"), [("ci", {"setup", "lint", "types", "test", "wheel", "docs"}), ("docs", {"setup", "docs"})]
)
def test_workflows_call_make_targets_that_exist(name, called):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    workflow = (ROOT / ".github" / "workflows" / f"{name}.yml").read_text()
    assert called <= set(re.findall(r"- run: make ([a-z-]+)$", workflow, re.MULTILINE)) <= targets
    assert workflow.count("run: ") == workflow.count("run: make ")


def test_every_page_of_the_documentation_is_in_its_index():
    index = (ROOT / "docs" / "README.md").read_text()
    for path in DOCUMENTS:
        assert path.parent != ROOT / "docs" or path.name == "README.md" or f"({path.name})" in index, path.name


def test_the_page_on_which_flow_to_take_names_every_model():
    page = (ROOT / "docs" / "which_flow.md").read_text()
    for path in Path(config_dir(), "model").glob("*.yaml"):
        assert f"`{path.stem}`" in page, path.stem


def test_commands_are_found_as_they_are_printed(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "Say `python -m nf_mnist.train\nmodel=NAME`.\n```bash\n"
        "python -m nf_mnist.sample ckpt=x.ckpt \\\n  n=4   # four\n"
        "ls && python -m nf_mnist.train -m seed=0,1 | tail\n```\n"
    )
    found = printed_commands([page])
    assert found == [
        Printed("sample", ("ckpt=x.ckpt", "n=4")),
        Printed("train", ("-m", "seed=0,1")),
        Printed("train", ("model=resflow",)),
    ]
    assert without_sweep(found[1]) == [["seed=0"], ["seed=1"]]
    assert joined(found) == [
        Printed("sample", ("ckpt=x.ckpt", "n=4")),
        Printed("train", ("seed=0",)),
        Printed("train", ("seed=1",)),
        Printed("train", ("model=resflow",)),
    ]


def test_printed_commands_exist():
    for command in PRINTED:
        assert importlib.util.find_spec(f"nf_mnist.{command.name}"), command


@pytest.mark.parametrize("command", joined(COMMANDS), ids=str)
def test_printed_commands_compose(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_digits(Path("images.npz"))
    check_ranges(composed(command.name, list(command.arguments)), nullable=RANGES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Return a folder with all files that documents name: images, a module, and tiny runs in place of large ones."""
    folder = tmp_path_factory.mktemp("docs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_digits(Path("images.npz"))
        write_png(torch.zeros(1, 28, 28, dtype=torch.uint8), "digit.png")
        write_png((torch.arange(28) > 14).to(torch.uint8).mul(255).expand(1, 28, 28).contiguous(), "mask.png")
        Path("my_module.py").write_text(MY_MODULE)
        for run, overrides in TRAINED.items():
            given = [text for text in reduced("train", overrides) if not text.startswith("trainer.max_steps")]
            finished = run_command("train", *given, "trainer.max_steps=1", f"output_dir={run}")
            assert finished.code == 0, finished.err
    return folder


@pytest.fixture
def user(folder, tmp_path, monkeypatch) -> Path:
    """Work in a copy of the folder, like a user of the package."""
    shutil.copytree(folder, tmp_path / "user")
    monkeypatch.chdir(tmp_path / "user")
    monkeypatch.syspath_prepend(tmp_path / "user")
    return tmp_path / "user"


def in_seconds(command: Printed) -> list[str]:
    """Return the arguments of a small version of a command, which uses the files of :func:`folder`."""
    given = []
    for text in reduced(command.name, list(command.arguments)):
        key, _, value = text.partition("=")
        is_large = command.name == "diagnose" and value.startswith("pretrained:")
        is_elsewhere = not value.startswith(("pretrained:", "auto")) and not Path(value).exists()
        if key in CHECKPOINTS and (is_large or is_elsewhere):
            text = f"{key}={BEST}"
        if key != "output_dir" or any(argument.startswith("ckpt=") for argument in command.arguments):
            given.append(text)
    return given


def is_whole(command: Printed) -> bool:
    """Return whether a printed command can run: it has a flow to work on, and asks for no help, rerun or server."""
    keys = {text.partition("=")[0] for text in command.arguments}
    is_asked = "--help" in keys or "rerun" in keys or command.name == "play"  # which serves until it is stopped
    return not is_asked and (command.name.startswith("train") or bool(keys & NEEDED))


@pytest.mark.slow
@pytest.mark.parametrize("command", joined(filter(is_whole, COMMANDS)), ids=str)
def test_printed_commands_run(command, user):
    finished = run_command(command.name, *in_seconds(command))
    assert finished.code == 0, finished.err


@documents
def test_printed_modules_of_this_repository_do_something(document):
    for name in re.findall(r"python -m ((?:benchmarks|tools|riddles)[.\w]*)", document.read_text()):
        path = ROOT / name.rstrip(".").replace(".", "/")
        is_run = (path / "__main__.py").exists() or '__name__ == "__main__"' in path.with_suffix(".py").read_text()
        assert is_run, f"python -m {name} does nothing"


@pytest.mark.slow
@documents
def test_printed_python_runs(document, user):
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", document.read_text(), re.DOTALL):
        imported = re.findall(r"^(?:from|import) (\w+)", block, re.MULTILINE)
        is_installed = all(importlib.util.find_spec(name) for name in imported)  # other libraries may not be
        if is_installed and not block.startswith(" "):  # a fragment to be put into a file
            exec(compile(block, document.name, "exec"), names)
