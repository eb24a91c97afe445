"""A resume that is refused, by us or by Lightning,: it leaves the folder of its run as it was."""

from pathlib import Path

import pytest
import torch

from nf_mnist.runs.record import read_record
from tests.support.helpers import Finished, merge, run_command, tiny_overrides, write_images

OF_NO_RUN = (".lock", ".owner.json", "tensorboard")  # Lightning opens TensorBoard's file before its own checks


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """Return the folder of a run that completed three epochs."""
    folder = tmp_path_factory.mktemp("refused")
    finished = run_command("train", *overrides_of(folder / "run"))
    assert finished.code == 0, finished.err
    return folder / "run"


def overrides_of(run: Path) -> list[str]:
    images = run.parent / "images.npz"
    base = tiny_overrides(images if images.exists() else write_images(images), run)
    return merge(base, ["trainer.max_epochs=3", "evaluation.n_draws=1", "trainer.val_check_interval=4"])


def content(folder: Path) -> dict[str, bytes]:
    """Return the content of each file of a run."""
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if not name.startswith(OF_NO_RUN)}


def refused(run: Path, *overrides: str) -> Finished:
    """Resume a run; check that this is refused and leaves the folder of the run as it was."""
    before = content(run)
    ended = run_command("train", *merge(overrides_of(run), [f"ckpt={run}/checkpoints/last.ckpt", *overrides]))
    assert (ended.code, ended.err.splitlines()[-1][:7]) == (1, "error: "), ended.err
    assert content(run) == before
    return ended


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (["optimizer.lr=1"], "optimizer.lr is 1, but the run of"),
        (["trainer.max_epochs=1"], "max_epochs=1"),
        (["trainer.check_val_every_n_epoch=1", "trainer.val_check_interval=100"], "`val_check_interval` (100) must be"),
    ],
)
def test_a_refused_resume_leaves_the_run_as_it_was(overrides, text, run):
    assert text in refused(run, *overrides).err
    assert read_record(run)["status"] == "completed"


LOOPS = ("loops", "fit_loop")
LOADER = (*LOOPS, "state_dict", "combined_loader")
STEPS = (*LOOPS, "epoch_loop.automatic_optimization.optim_progress", "optimizer", "step", "total")
OPTIMIZER = ("optimizer_states", 0)
MOMENT = (*OPTIMIZER, "state", 0, "exp_avg")
BEST = ("callbacks", "best")


@pytest.mark.parametrize(
    ("place", "value", "text"),
    [
        (MOMENT, torch.zeros(1), "state of the optimizer for parameter 0.exp_avg"),
        (MOMENT, torch.zeros(4, 1, 3, 3).to_sparse(), "parameter 0.exp_avg"),
        (MOMENT, None, "parameter 0.exp_avg"),
        ((*OPTIMIZER, "state", 0), {}, "parameter 0, which lacks step,"),
        ((*OPTIMIZER, "state", 9999), {}, "parameter 9999"),
        ((*OPTIMIZER, "state"), [], "state of the optimizer"),
        ((*OPTIMIZER, "param_groups"), [], "param_groups"),
        ((*OPTIMIZER, "param_groups", 0, "params"), [0], "params of the optimizer"),
        ((*OPTIMIZER, "param_groups", 0, "lr"), "fast", "lr of the optimizer"),
        (("optimizer_states",), {"a": 1}, "optimizer_states"),
        (LOADER, [{"epoch": 0, "n_taken": 1.5}], "combined_loader.n_taken"),
        (LOADER, [{"epoch": 2**70, "n_taken": 1}], "combined_loader.epoch"),
        (LOADER, 3, "combined_loader"),
        ((*STEPS, "ready"), "3", "step.total.ready"),
        ((*STEPS, "completed"), -1, "step.total.completed"),
        (("loops",), [], "checkpoint.loops"),
        (LOOPS, {}, "which lacks state_dict"),
        (("callbacks", "Timer", "time_elapsed"), 5, "callbacks.Timer.time_elapsed"),
        (("callbacks", "Timer", "time_elapsed", "train"), "1 h", "callbacks.Timer.time_elapsed.train"),
        (("callbacks", "Timer", "time_elapsed", "train"), -1e9, "callbacks.Timer.time_elapsed.train"),
        (("callbacks",), [], "callbacks"),
        ((*BEST, "best_model_score"), "good", "callbacks.SaveBest.best_model_score"),
        ((*BEST, "best_k_models"), {"best.ckpt": 3}, "callbacks.SaveBest.best.ckpt"),
        ((*BEST, "best_k_models"), None, "callbacks.SaveBest.best_k_models"),
        (("lr_schedulers",), 3, "lr_schedulers"),
        (("rate_factors",), [1.0], "rate_factors"),
        (("pytorch-lightning_version",), "new", "pytorch-lightning_version"),
        (("global_step",), "3", "checkpoint.global_step"),
    ],
)
def test_a_state_of_another_kind_or_shape_is_refused_in_one_line(place, value, text, run):
    last = run / "checkpoints" / "last.ckpt"
    content_before, checkpoint = last.read_bytes(), torch.load(last, weights_only=True)
    node = checkpoint
    for key in place[:-1]:
        node = node[next(name for name in node if "val/loss" in name) if key == "best" else key]
    key = place[-1]
    assert key == 9999 or key in node or isinstance(node, list), "the place exists in a whole checkpoint"
    node[key] = value
    torch.save(checkpoint, last)
    try:
        ended = refused(run, "trainer.max_epochs=9")
    finally:
        last.write_bytes(content_before)
    assert ended.err.count("\n") == 1
    assert f"{last} is damaged or foreign: " in ended.err
    assert text in ended.err
