"""Callbacks that save checkpoints: settings with which a run would lose its best one are refused before training."""

import pytest

from nf_mnist.training import fit as fit_module
from tests.support.helpers import run_command, tiny_overrides, write_images

STOCK = "_target_:lightning.pytorch.callbacks.ModelCheckpoint"


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("callbacks.best.monitor=val/bpd", "callbacks.best.monitor must be val/loss, got val/bpd"),
        ("+callbacks.best.save_top_k=2", "callbacks.best.save_top_k must be 1, got 2"),
        ("+callbacks.best.mode=max", "callbacks.best.mode must be min, got max"),
        ("callbacks.best.filename=good", "callbacks.best.filename must be best, got good"),
        ("callbacks.best.dirpath={folder}", "callbacks.best.dirpath must be {folder}/run/checkpoints"),
        ("callbacks.last.dirpath={folder}", "callbacks.last.dirpath must be {folder}/run/checkpoints"),
        ("callbacks.last.save_last=false", "callbacks.last.save_last must be True, got False"),
        ("callbacks.last.filename=best", "SaveResumable would write {folder}/run/checkpoints/best.ckpt"),
        (f"+callbacks.own={{{{{STOCK},dirpath:{{folder}}/run/checkpoints,filename:last}}}}", "would write"),
    ],
)
def test_settings_that_would_lose_the_best_checkpoint_are_refused(override, text, tmp_path, monkeypatch):
    monkeypatch.setattr(fit_module, "fit", lambda *arguments: pytest.fail("it trains"))
    base = tiny_overrides(write_images(tmp_path / "images.npz"), tmp_path / "run")
    refused = run_command("train", *base, "trainer.max_steps=1", override.format(folder=tmp_path))
    assert (refused.code, refused.err.count("\n")) == (1, 1), refused.err
    assert text.format(folder=tmp_path) in refused.err
    assert not (tmp_path / "run" / "checkpoints").exists()
