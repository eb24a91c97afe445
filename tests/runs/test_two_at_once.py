"""Two of every command at once on the same output: one does its work, the other is refused in one line."""

import csv
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image

from nf_mnist.runs.record import COMPLETED, read_record, update_record
from nf_mnist.runs.sweep import job
from tests.support.helpers import Finished, merge, run_command, tiny_overrides, write_images
from tests.support.processes import run_together, two_processes

TIMES = int(os.environ.get("TIMES", "2"))  # TIMES=20 for a thorough search
QUICK = ("trainer.max_steps=2", "logger.tensorboard=null", "evaluation=null", "trainer.log_every_n_steps=1")
LONGER = "trainer.max_steps=5"

Run = Callable[[str, Sequence[str], Path], list[Finished]]


@pytest.fixture(scope="module")
def together() -> Iterator[Run]:
    """Return a function that runs a command in two processes at once, both in a folder."""
    with two_processes() as pool:
        yield lambda command, arguments, folder: list(
            pool.map(run_together, [command] * 2, [arguments] * 2, [folder] * 2)
        )


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    """Return a folder with ``images.npz`` and runs in ``run``, ``sweep/one`` and ``sweep/two``."""
    folder = tmp_path_factory.mktemp("files")
    images = write_images(folder / "images.npz")
    assert run_command("train", *tiny_overrides(images, folder / "run"), *QUICK).code == 0
    for name in ("one", "two"):
        shutil.copytree(folder / "run", folder / "sweep" / name)
    return folder


def outputs(files: Path, out: Path) -> dict[str, tuple[list[str], Path]]:
    """Return the arguments of each command that makes an output, and the file that is whole when the output is."""
    ckpt, tiny = f"ckpt={files}/run/checkpoints/last.ckpt", tiny_overrides(files / "images.npz", out)
    of_classifier = [text for text in tiny if text.startswith(("data", "path", "trainer", "output_dir"))]
    measured = ["split=test", "n_draws=1", "n_images=4", "batch_size=4", "seed=0"]
    return {
        "train": ([*tiny, *QUICK], out / "checkpoints" / "best.ckpt"),
        "train_classifier": ([*of_classifier, QUICK[0]], out / "checkpoints" / "last.ckpt"),
        "evaluate": ([ckpt, f"out={out}", *(f"evaluation.{text}" for text in measured)], out),
        "sample": ([ckpt, "n=4", f"out={out}.png"], out.with_suffix(".png")),
        "inpaint": ([ckpt, "n_images=2", "method.n_steps=2", f"out={out}"], out / "metrics.json"),
        "diagnose": ([ckpt, "n_images=4", "batch_size=4", "check_seconds=0.05", f"out={out}"], out / "report.json"),
        "export": ([ckpt, f"out={out}.ckpt"], out.with_suffix(".ckpt")),
    }


def check_whole(path: Path) -> None:
    """Check that a file can be read, and that no temporary file is left beside it."""
    read = {".ckpt": lambda path: torch.load(path, weights_only=True), ".png": lambda path: Image.open(path).load()}
    read.get(path.suffix, lambda path: json.loads(path.read_text()))(path)
    left = {each.name for each in path.parent.iterdir() if each.name.startswith(".")}
    assert left <= {".lock", ".owner.json"}


def check_one_refused(ended: Sequence[Finished]) -> None:
    refused, done = sorted(ended, key=lambda finished: -finished.code)
    assert (refused.code, done.code) == (1, 0), ended
    assert (refused.err[:7], refused.err.count("\n")) == ("error: ", 1), refused


@pytest.mark.slow
@pytest.mark.parametrize("command", outputs(Path(), Path("x")))
def test_one_of_two_with_the_same_output_is_refused(command, files, together, tmp_path):
    arguments, made = outputs(files, tmp_path / "here" / "x")[command]
    for _ in range(TIMES):
        shutil.rmtree(tmp_path / "here", ignore_errors=True)
        check_one_refused(together(command, arguments, tmp_path))
        check_whole(made)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["evaluate", "sample", "inpaint", "diagnose", "train"])
def test_outputs_without_a_name_have_names_of_their_own(command, files, together, tmp_path):
    arguments, _ = outputs(files, tmp_path / "x")[command]
    given = [text for text in arguments if not text.startswith(("out=", "output_dir="))]
    for number in range(1, TIMES + 1):
        assert [finished.code for finished in together(command, given, tmp_path)] == [0, 0]
        (folder,) = (tmp_path / "outputs").iterdir()
        assert len(list(folder.iterdir())) == 2 * number


@pytest.mark.slow
def test_a_run_that_two_processes_resume_at_once_has_one_record(files, together, tmp_path):
    """The second may wait for the first, or be refused; each step is done and recorded once."""
    run = tmp_path / "run"
    arguments = merge([*tiny_overrides(files / "images.npz", run), *QUICK], [LONGER, "ckpt=auto"])
    for _ in range(TIMES):
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(files / "run", run)
        ended = together("train", arguments, tmp_path)
        if any(finished.code for finished in ended):
            check_one_refused(ended)
        assert read_record(run)["status"] == COMPLETED
        assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 5
        rows = list(csv.DictReader((run / "csv" / "metrics.csv").open()))
        assert [row["step"] for row in rows if row["train/loss"]] == list("01234")


@pytest.mark.slow
def test_a_report_that_two_processes_write_is_whole(files, together, tmp_path):
    for _ in range(TIMES):
        assert [finished.code for finished in together("sweep_report", [f"{files}/sweep"], tmp_path)] == [0, 0]
        assert len(json.loads((files / "sweep" / "report.json").read_text())["runs"]) == 2
        check_whole(files / "sweep" / "report.json")


def sweep_together(command: str, arguments: Sequence[str], folder: Path) -> Finished:
    """Run a sweep whose runs end at once in one of two processes."""

    def train(run: Path, overrides: Sequence[str], reservation: object) -> tuple[int, int]:
        with (run.parent / "begun.txt").open("a") as file:
            file.write(f"{run.name}\n")
        update_record(run, overrides=list(overrides), status=COMPLETED, val_loss=1.0, seconds=1.0, pid=1)
        return 0, 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(job, "_train", train)
        return run_together(command, arguments, folder)


@pytest.mark.slow
def test_a_sweep_that_two_processes_begin_makes_each_run_once(files, tmp_path):
    sweep = tmp_path / "sweep"
    given = ["-m", *tiny_overrides(files / "images.npz", sweep), "seed=0,1"]
    with two_processes() as pool:
        for _ in range(TIMES):
            shutil.rmtree(sweep, ignore_errors=True)
            ended = list(pool.map(sweep_together, ["train"] * 2, [given] * 2, [tmp_path] * 2))
            if any(finished.code for finished in ended):
                check_one_refused(ended)
            runs = (sweep / "begun.txt").read_text().split()
            assert len(runs) == len(set(runs)) == 2
            check_whole(sweep / "sweep.json")
