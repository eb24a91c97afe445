"""A training with digits drawn anew: the experiment for a GPU, rehearsed with small sizes on the CPU."""

from pathlib import Path

import lightning as L
import numpy as np
import pytest
import torch
from torch import Tensor

from nf_mnist.data import mnist
from tests.support.helpers import compose_config, first_difference, fit, merge, run_command, tiny_overrides

N_IMAGES = 50


def overrides(folder: Path, run: str, *more: str) -> list[str]:
    """Return overrides of a training of some seconds; the experiment's model has the sizes of a small one."""
    _, *tiny = tiny_overrides(folder / "digits.npz", folder / run, "hierarchical")
    small = [
        *("experiment=hierarchical_gpu_10min", "model.flow.n_scales=2", "model.compile=false", "scheduler=constant"),
        *("trainer.max_time=null", "trainer.val_check_interval=2", "trainer.check_val_every_n_epoch=null"),
        *("logger.tensorboard=null", "evaluation=null"),
    ]
    return merge([override for override in tiny if not override.startswith("evaluation.")], [*small, *more])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Return a folder with ``digits.npz``, some of MNIST's training images."""
    folder = tmp_path_factory.mktemp("digits")
    np.savez(folder / "digits.npz", images=mnist().train.levels[:N_IMAGES, 0].numpy())
    return folder


def test_the_experiment_is_for_one_gpu_and_ten_minutes():
    cfg = compose_config(["experiment=hierarchical_gpu_10min"])
    assert (cfg.trainer.accelerator, cfg.trainer.devices, cfg.trainer.max_time) == ("gpu", 1, "00:00:10:00")
    assert (cfg.model.flow.level_prior, cfg.model.compile) == ("resampled", True)
    assert cfg.data.rerender > 0


def test_the_first_half_of_training_batches_alone_is_drawn_anew(folder):
    seen: dict[bool, list[Tensor]] = {True: [], False: []}

    class Watch(L.Callback):
        def on_fit_start(self, trainer, pl_module):
            pl_module.dequantizer.register_forward_pre_hook(
                lambda module, inputs: seen[module.training].append(inputs[0].clone())
            )

    data = fit(overrides(folder, "watched", "trainer.max_steps=2"), [Watch()]).data
    batches = torch.stack(seen[True])
    assert batches.shape == (2, 16, 1, 28, 28)
    assert not is_in(batches[:, :8].flatten(0, 1), data.train.levels).any()
    assert is_in(batches[:, 8:].flatten(0, 1), data.train.levels).all()
    assert is_in(torch.cat(seen[False]), data.validation.levels).all()


def is_in(images: Tensor, known: Tensor) -> Tensor:
    """Return which images are among the known ones, shape (n,)."""
    return (images[:, None] == known[None]).flatten(2).all(2).any(1)


@pytest.mark.slow
def test_a_run_that_goes_on_draws_what_one_that_never_stopped_has_drawn(folder):
    def train(run: str, *more: str) -> dict:
        finished = run_command("train", *overrides(folder, run, *more))
        assert finished.code == 0, finished.err
        checkpoint = torch.load(folder / run / "checkpoints" / "last.ckpt", weights_only=True)
        return {key: checkpoint[key] for key in ("state_dict", "optimizer_states")}

    whole = train("whole", "trainer.max_steps=4")
    train("stopped", "trainer.max_steps=3")
    assert first_difference(train("stopped", "trainer.max_steps=4", "ckpt=auto"), whole) == ""
