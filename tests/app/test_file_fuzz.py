"""Files with bytes changed, exchanged or cut off: every command that reads them does its work or says what is wrong."""

import random
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from nf_mnist.runs.record import COMPLETED, update_record
from nf_mnist.runs.report import REPORT_FILES
from nf_mnist.runs.sweep import job
from tests.support.damage import damaged, damaged_chunk, damaged_member, damaged_text
from tests.support.fuzz import complaint, composed_once, state
from tests.support.helpers import run_command, tiny_overrides, write_images

PARTS, N_FILES = range(5), 100
Damage = Callable[[bytes, random.Random], bytes]
REWRITTEN = ("train.log", "report.csv", "report.json", "report.png")  # a command writes them anew


class Kind(NamedTuple):
    """A kind of files: patterns of their names, ways to damage them, and the commands that read them."""

    files: Sequence[str]
    damages: Sequence[Damage]
    commands: Sequence[str]


LAST = "run/checkpoints/last.ckpt"
KINDS = {
    "npz": Kind(
        ["images.npz"],
        [damaged, damaged_member],
        ["train", "resume", "rerun", "train_classifier", "evaluate", "ood", "inpaint", "diagnose"],
    ),
    "png": Kind(["digit.png", "mask.png", "pictures/1/0.png"], [damaged, damaged_chunk], ["picture", "pictures"]),
    "checkpoint": Kind(
        [LAST],
        [damaged, damaged_member],
        ["resume", "init", "rerun", "evaluate", "sample", "inpaint", "diagnose", "export"],
    ),
    "run.json": Kind(
        ["run/run.json", "sweep/*/run.json"], [damaged_text, damaged], ["resume", "rerun", "sweep", "sweep_report"]
    ),
    "sweep.json": Kind(["sweep/sweep.json"], [damaged_text, damaged], ["sweep", "sweep_report"]),
    "config.yaml": Kind(["run/config.yaml"], [damaged_text, damaged], ["rerun"]),
}


def arguments_of(folder: Path) -> dict[str, tuple[str, list[str]]]:
    """Return commands, and the arguments with which they read files of a folder and take a moment."""
    images, ckpt, out = folder / "images.npz", f"ckpt={folder / LAST}", folder / "out"
    measured = ["evaluation.n_draws=1", "evaluation.n_images=4", "evaluation.batch_size=4"]
    evaluated = [ckpt, *measured, f"out={out}/metrics.json"]
    begun = [*tiny_overrides(images, out), "trainer.max_steps=1", "evaluation=null"]
    resumed = [*tiny_overrides(images, folder / "run"), "trainer.max_steps=2", "evaluation=null", "ckpt=auto"]
    for_classifier = [text for text in begun if text.startswith(("data", "path", "trainer", "output_dir"))]
    return {
        "train": ("train", begun),
        "pictures": ("train", [*begun, f"path={folder}/pictures"]),
        "resume": ("train", resumed),
        "init": ("train", [*begun, f"init_from={folder / LAST}"]),
        "rerun": ("train", [f"rerun={folder}/run", f"output_dir={out}"]),
        "sweep": ("train", ["-m", *tiny_overrides(images, folder / "sweep"), "seed=0,1"]),
        "sweep_report": ("sweep_report", [f"{folder}/sweep"]),
        "train_classifier": ("train_classifier", for_classifier),
        "evaluate": ("evaluate", evaluated),
        "ood": ("evaluate", [*evaluated, f"ood_data={images}"]),
        "sample": ("sample", [ckpt, "n=4", f"out={out}/samples.png"]),
        "inpaint": ("inpaint", [ckpt, "n_images=2", "method.n_steps=2", f"out={out}/inpainting"]),
        "picture": ("inpaint", [ckpt, "method.n_steps=2", *_given(folder), f"out={out}/inpainting"]),
        "diagnose": ("diagnose", [ckpt, "n_images=4", "batch_size=4", "check_seconds=0.05", f"out={out}/diagnosis"]),
        "export": ("export", [ckpt, f"out={out}/small.ckpt"]),
    }


def _given(folder: Path) -> list[str]:
    return [f"image={folder}/digit.png", f"mask={folder}/mask.png"]


@pytest.fixture(scope="module")
def quickly():
    """Let jobs of sweeps end at once, as if they had trained, and compose each command line once."""

    def train(folder, overrides, reservation):
        update_record(folder, overrides=list(overrides), status=COMPLETED, val_loss=1.0, seconds=1.0, pid=1)
        return 0, 1

    with composed_once(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "_train", train)
        yield


@pytest.fixture(scope="module")
def good(tmp_path_factory, quickly) -> Path:
    """Return a copy of the folder ``work`` beside it, with undamaged files of all kinds."""
    folder = tmp_path_factory.mktemp("files") / "work"
    (folder / "pictures" / "0").mkdir(parents=True)
    (folder / "pictures" / "1").mkdir()
    write_images(folder / "images.npz")
    levels = np.load(folder / "images.npz")["images"]
    for number, picture in enumerate(levels[:20]):
        Image.fromarray(picture).save(folder / "pictures" / str(number % 2) / f"{number // 2}.png")
    Image.fromarray(levels[0]).save(folder / "digit.png")
    Image.fromarray(np.tri(14, dtype=np.uint8) * 255).save(folder / "mask.png")
    overrides = [*tiny_overrides(folder / "images.npz", folder / "run"), "trainer.max_steps=1"]
    assert run_command("train", *overrides, "evaluation.n_images=4", "evaluation.batch_size=4").code == 0
    command, arguments = arguments_of(folder)["sweep"]
    assert run_command(command, *arguments).code == 0
    return shutil.copytree(folder, folder.with_name("good"))


def is_elsewhere(content: bytes, folder: Path) -> bool:
    """Return whether a text names a path outside of a folder, where a test should not write."""
    paths = re.findall(rb"(?<![\w./])/[\w./]*|\.\./", content)
    return any(not path.startswith(bytes(folder)) for path in paths)


def lost(before: dict[Path, tuple[int, int]], folder: Path, name: str) -> list[str]:
    """Return the files that a command has removed, and those of others that it has changed.

    A run that goes on removes the metrics and the pictures of its earlier end.
    """
    now, own = state(folder), {"resume": folder / "run", "sweep": folder / "sweep"}.get(name)
    of_the_end = [folder / "run" / file for file in ("metrics.json", *REPORT_FILES)] if name == "resume" else []
    gone = [path for path in before if path not in now and path not in of_the_end]
    changed = [path for path in before if now.get(path, before[path]) != before[path] and path.name not in REWRITTEN]
    return [str(path) for path in gone + [path for path in changed if own is None or not path.is_relative_to(own)]]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("name", KINDS)
def test_a_damaged_file_is_read_or_refused_in_a_line_and_no_file_is_lost(name, part, good, tmp_path, monkeypatch):
    """No traceback, no hang, no file lost."""
    monkeypatch.chdir(tmp_path)
    kind, draw, complaints, folder = KINDS[name], random.Random(f"{name}{part}"), {}, good.with_name("work")
    for number in range(N_FILES):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(good, folder)
        file, damage = draw.choice(sorted(folder.glob(draw.choice(kind.files)))), draw.choice(kind.damages)
        content = damage(file.read_bytes(), draw)
        while name == "config.yaml" and is_elsewhere(content, folder.parent):
            content = damage(file.read_bytes(), draw)
        file.write_bytes(content)
        before, chosen = state(folder), draw.choice(kind.commands)
        command, arguments = arguments_of(folder)[chosen]
        said = complaint(command, arguments)
        if gone := lost(before, folder, chosen):
            said += f" lost: {', '.join(gone)}"
        if said:
            complaints[f"{number}: {chosen} of {file.name} by {damage.__name__}"] = said
    assert complaints == {}
