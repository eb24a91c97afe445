"""Paths in a checkpoint's callback state: a resumed run deletes nothing outside its own folder of checkpoints."""

from pathlib import Path

import pytest
import torch

from nf_mnist.training.callbacks import SaveBest, SaveResumable
from nf_mnist.training.checkpoint_io import AtomicCheckpointIO
from tests.support.helpers import run_command, tiny_overrides, write_images

PATHS = ("best_model_path", "kth_best_model_path", "last_model_path")
STOCK = "lightning.pytorch.callbacks.ModelCheckpoint,every_n_train_steps:1,save_last:true"


def test_a_resumed_run_deletes_no_folder_that_its_checkpoint_names(tmp_path):
    images, run, thesis = write_images(tmp_path / "images.npz"), tmp_path / "run", tmp_path / "thesis"
    checkpoints = run / "checkpoints"
    third = f"+callbacks.third={{_target_:{STOCK},dirpath:{checkpoints},filename:third}}"
    base = [*tiny_overrides(images, run), "callbacks.last.every_n_train_steps=1", "evaluation=null", third]
    assert run_command("train", *base, "trainer.max_steps=2", "trainer.val_check_interval=1").code == 0
    last = checkpoints / "last.ckpt"
    checkpoint = torch.load(last, weights_only=True)
    outside = f"{checkpoints}/../../thesis"
    for state in checkpoint["callbacks"].values():
        if "best_k_models" in state:
            state |= dict.fromkeys(PATHS, outside) | {"best_k_models": {outside: torch.tensor(1e9)}}
    torch.save(checkpoint, last)
    thesis.mkdir()
    (thesis / "thesis.tex").write_text("years of work")
    resumed = run_command("train", *base, "trainer.max_steps=4", "trainer.val_check_interval=1", f"ckpt={last}")
    assert resumed.code == 0, resumed.err
    assert (thesis / "thesis.tex").read_text() == "years of work"


@pytest.mark.parametrize("kind", [SaveBest, SaveResumable])
def test_restored_paths_are_names_of_files_in_the_own_folder(kind, tmp_path):
    own, other = tmp_path / "checkpoints", tmp_path / "thesis"
    for folder in (own, other):
        folder.mkdir()
        (folder / "best.ckpt").touch()
    callback = kind(dirpath=own)
    state = callback.state_dict() | {"best_model_score": torch.tensor(1.0), "best_model_path": str(other / "best.ckpt")}
    state |= {"last_model_path": f"{own}/..", "kth_best_model_path": str(other), "best_k_models": {str(other): 1.0}}
    callback.load_state_dict(state)
    assert callback.best_model_path == str(own / "best.ckpt")
    assert (callback.last_model_path, callback.kth_best_model_path, callback.best_k_models) == ("", "", {})


def test_only_files_beside_saved_checkpoints_are_removed(tmp_path):
    writer, own = AtomicCheckpointIO(), tmp_path / "checkpoints"
    for name in ("thesis/a.ckpt", "checkpoints/old.ckpt", "checkpoints/folder/b.ckpt"):
        path: Path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    writer.save_checkpoint({}, own / "new.ckpt")
    for name in ("../thesis", "../thesis/a.ckpt", "folder", "old.ckpt", "missing.ckpt"):
        writer.remove_checkpoint(own / name)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.ckpt")}
    assert left == {"thesis/a.ckpt", "checkpoints/folder/b.ckpt", "checkpoints/new.ckpt"}
