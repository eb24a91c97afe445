"""Random values for nodes and leaves of all commands: the command does its work, or says in one line what is wrong."""

import os
import random
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from omegaconf import OmegaConf

from tests.support.fuzz import complaint, state
from tests.support.helpers import compose_config, merge, run_command, tiny_overrides, write_images

SEEDS, N_CASES = range(40), 50
MODELS = ("resflow", "hierarchical", "glow", "uva_vardeq", "tarflow", "nice")
VALUES = (  # {} is a folder of files
    *("-1", "0", "1", "2", "1.5", "1e-3", "1e400", "nan", "inf", str(2**62), str(2**63), "null", "true", "???"),
    *("''", "abc", "é", "a=b", "x,y", "(", ".", "/dev/null", "${nosuch}", "${seed}", "pretrained:nosuch"),
    *("[]", "[1,2]", "[null]", "{a:1}", "{_target_:os.nosuch}"),
    *("{}", "{}/images.npz", "{}/text.txt", "{}/pipe", "{}/missing", "{}/run", "{}/run/config.yaml"),
    "{}/run/checkpoints/last.ckpt",
)
SIGNS = ("", "", "", "", "", "", "+", "++", "~")
# What is not for this test: budgets as large as 2^62, other devices and processes, and logs that are appended to.
LEFT_OUT = ("max_steps", "max_epochs", "max_time", "devices", "num_nodes", "save_dir")


class Case(NamedTuple):
    """A command, the arguments with which it works, and random ones."""

    command: str
    base: Sequence[str]
    given: Sequence[str]

    def __str__(self) -> str:
        return " ".join((self.command, *self.given))


def nodes_and_leaves(node: Any, prefix: str = "") -> Iterator[str]:
    """Yield the full name of each node and of each leaf of a configuration."""
    for key, value in node.items():
        if not any(part in f"{prefix}{key}" for part in LEFT_OUT):
            yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from nodes_and_leaves(value, f"{prefix}{key}.")


def working_arguments(files: Path, out: Path) -> list[tuple[str, list[str]]]:
    """Return each command but sweep_report, with arguments with which it works and takes a moment."""
    ckpt, output = f"ckpt={files}/run/checkpoints/last.ckpt", f"output_dir={out}"
    measured = ["evaluation.n_draws=1", "evaluation.n_images=4", "evaluation.batch_size=4"]
    trained = [*tiny_overrides(files / "images.npz", out), "trainer.max_steps=1"]
    for_classifier = [text for text in trained if text.startswith(("data", "path", "trainer"))]
    return [
        *(("train", [*tiny_overrides(files / "images.npz", out, model), *measured, trained[-1]]) for model in MODELS),
        ("train_classifier", [*for_classifier, output]),
        ("evaluate", [ckpt, *measured, output]),
        ("sample", [ckpt, "n=4", output]),
        ("inpaint", [ckpt, "n_images=2", "method.n_steps=2", output]),
        ("diagnose", [ckpt, "n_images=4", "batch_size=4", "check_seconds=0.05", output]),
        ("export", [ckpt, f"out={out}/small.ckpt", output]),
    ]


def random_cases(n: int, seed: int, files: Path, out: Path) -> Iterator[Case]:
    """Yield n cases with one to three random values each; every command is as likely as any other."""
    draw = random.Random(seed)
    values = [value.replace("{}", str(files)) if value.startswith("{}") else value for value in VALUES]
    settings: dict[str, list[tuple[list[str], list[str]]]] = {}
    for command, base in working_arguments(files, out):
        of_a_run = ["run_dir=x", "name=x"] if command.startswith("train") else []
        cfg = OmegaConf.to_container(compose_config(merge(base, of_a_run), command))
        settings.setdefault(command, []).append((base, list(nodes_and_leaves(cfg))))
    for _ in range(n):
        command = draw.choice([*settings, "sweep_report"])
        if command == "sweep_report":
            yield Case(command, [], [draw.choice(values)])
            continue
        base, keys = draw.choice(settings[command])
        yield Case(command, base, [_override(draw, keys, values) for _ in range(draw.choice([1, 1, 1, 2, 3]))])


def _override(draw: random.Random, keys: Sequence[str], values: Sequence[str]) -> str:
    sign, key, value = draw.choice(SIGNS), draw.choice(keys), draw.choice(values)
    return f"~{key}" if sign == "~" else f"{sign}{key}={value}"


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """Return a folder with images, a text, a pipe, a run and a sweep of one run."""
    folder = tmp_path_factory.mktemp("files")
    write_images(folder / "images.npz")
    (folder / "text.txt").write_text("a text")
    os.mkfifo(folder / "pipe")
    for run in (folder / "run", folder / "sweep" / "one"):
        overrides = [*tiny_overrides(folder / "images.npz", run), "trainer.max_steps=1", "evaluation.n_images=4"]
        assert run_command("train", *overrides).code == 0
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("seed", SEEDS)
def test_any_nodes_and_leaves_do_their_work_or_are_refused_in_a_line(seed, files, tmp_path, monkeypatch):
    """No traceback, no hang, no file changed."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    before, complaints = state(files), {}
    for case in random_cases(N_CASES, seed, files, tmp_path / "out"):
        said = complaint(case.command, merge(case.base, case.given))
        now = state(files)
        if not before.items() <= now.items():
            said += " files were changed"
            before = now
        if said:
            complaints[str(case)] = said
        for added in now.keys() - before.keys():  # a second report of a sweep may replace the first
            added.unlink()
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
    assert complaints == {}
