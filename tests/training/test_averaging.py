"""Averages: BatchNorm statistics measured anew over batches, and weights averaged over steps."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from nf_mnist.bijectors import BatchNorm
from nf_mnist.data import draw_noise
from nf_mnist.training.callbacks import RecomputeStatistics
from nf_mnist.training.callbacks.averaging import decay_after, move_average
from tests.support.helpers import Fit, Recorder, first_difference, fit, tiny_overrides, write_images


def test_statistics_are_recomputed_over_the_training_set_before_validation(overrides):
    trained = fit(
        [
            *overrides,
            "callbacks=recompute_statistics",
            "model.norm=batchnorm",
            "trainer.max_steps=2",
            "trainer.val_check_interval=2",
            "scheduler=constant",
        ]
    )
    norm = first_norm(trained.module)
    assert norm.momentum == 0.1
    mean, variance = statistics_of_batches(trained)
    assert_close(norm.running_mean.flatten(), mean, atol=1e-5, rtol=0)
    assert_close(norm.running_var.flatten(), variance, atol=1e-5, rtol=1e-5)
    assert (norm.running_var - 1).abs().max() > 0.5, "not the initial ones"


def test_recomputing_statistics_leaves_the_random_state_as_it_was(overrides):
    trained = fit([*overrides, "model.norm=batchnorm", "trainer.max_steps=1"])
    before = torch.get_rng_state()
    RecomputeStatistics(n_batches=2).on_validation_start(trained.trainer, trained.module)
    assert torch.equal(torch.get_rng_state(), before)
    mean, variance = statistics_of_batches(trained, n_batches=2)
    norm = first_norm(trained.module)
    assert_close(norm.running_mean.flatten(), mean, atol=1e-5, rtol=0)
    assert_close(norm.running_var.flatten(), variance, atol=1e-5, rtol=1e-5)


def test_statistics_are_measured_in_the_context_of_training(tmp_path):
    images = write_images(tmp_path / "images.npz", side=16)
    settings = ["trainer.max_steps=1", "logger.tensorboard=null"]
    trained = fit([*tiny_overrides(images, tmp_path / "run", "conditional"), *settings])
    contexts = []
    trained.module.flow.register_forward_pre_hook(lambda flow, inputs: contexts.append(inputs[1]))
    RecomputeStatistics(n_batches=2).on_validation_start(trained.trainer, trained.module)
    assert contexts == [], "there are no statistics to measure"
    trained.module.flow.add_module("norm", BatchNorm((1,)))
    RecomputeStatistics(n_batches=2).on_validation_start(trained.trainer, trained.module)
    assert [context.shape for context in contexts] == [(16, 2, 16, 16)] * 2, "the image and what is observed of it"


def first_norm(module: nn.Module) -> BatchNorm:
    return next(part for part in module.flow.modules() if isinstance(part, BatchNorm))


@torch.no_grad()
def statistics_of_batches(trained: Fit, n_batches: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean and biased variance of each channel before the first BatchNorm, averaged over training batches.

    Noise and batches are those of RecomputeStatistics: noise from its seed, batches in the order of the first epoch.
    """
    preprocess, coupling = trained.module.flow.bijector.layers()[:2]
    coupling.train()
    means, variances = [], []
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for levels, _ in list(trained.data.train_dataloader())[:n_batches]:
            x, _ = trained.module.dequantizer(levels, draw_noise(levels))
            y = coupling(preprocess(x)[0])[0].transpose(0, 1).flatten(1)
            means.append(y.mean(1))
            variances.append(y.var(1, correction=0))
    assert len(means) > 1
    return torch.stack(means).mean(0), torch.stack(variances).mean(0)


def test_the_average_of_weights_leaves_integers_as_they_are(overrides, tmp_path):
    tiny = tiny_overrides(tmp_path / "images.npz", tmp_path / "run", model="cp3")
    options = ["callbacks=ema", "callbacks.ema.decay=0.9999", "logger.tensorboard=null"]
    trained = fit([*tiny, *options, "trainer.max_steps=4", "trainer.val_check_interval=4"])
    saved = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    orders = {name: value for name, value in saved.items() if value.dtype == torch.int64 and value.dim()}
    assert orders
    for name, order in orders.items():
        assert order.sort().values.tolist() == list(range(len(order))), f"{name} is no permutation any more"
        assert torch.equal(order, trained.module.state_dict()[name])


def test_a_step_moves_the_average_by_one_minus_its_decay():
    average, integer = torch.tensor(1.0), torch.tensor(1)
    move_average([average, integer], [torch.tensor(3.0), torch.tensor(3)], decay=0.9)
    assert average.item() == pytest.approx(0.9 * 1 + 0.1 * 3)
    assert integer.item() == 3


def test_an_average_without_memory_is_the_present_value():
    average = torch.tensor(float("nan"))
    move_average([average], [torch.tensor(3.0)], decay=0.0)
    assert average.item() == 3


def test_the_saved_average_is_the_recursion_over_the_weights_of_the_steps(overrides, tmp_path):
    recorder = Recorder()
    options = ["callbacks=ema", "callbacks.ema.decay=0.9", "scheduler=constant", "optimizer.lr=0.01"]
    fit(
        [*overrides, *options, "model.norm=batchnorm", "trainer.max_steps=4", "trainer.val_check_interval=2"],
        [recorder],
    )
    saved = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    first, *others = recorder.weights
    assert len(others) == 3
    for name, value in first.items():
        if value.is_floating_point():
            for decay, weights in zip((2 / 11, 3 / 12, 4 / 13), others, strict=True):
                value = decay * value + (1 - decay) * weights[name]
            assert_close(saved[name], value, atol=1e-6, rtol=1e-5, msg=name)


@pytest.mark.parametrize(("n_steps", "decay"), [(0, 0.0), (8, 0.5), (8990, 0.999), (10**6, 0.999)])
def test_an_average_remembers_little_at_first_and_no_more_than_its_decay_later(n_steps, decay):
    assert decay_after(n_steps, 0.999) == pytest.approx(decay)


def test_the_averaged_weights_are_validated_and_saved(overrides, tmp_path):
    trained = fit(
        [
            *overrides,
            "callbacks=ema",
            "callbacks.ema.decay=0.5",
            "scheduler=constant",
            "optimizer.lr=0.01",
            "trainer.max_steps=4",
            "trainer.val_check_interval=4",
        ]
    )
    saved = torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt", weights_only=True)
    assert first_difference(saved["state_dict"], trained.module.state_dict()) == "", "training ends with the average"
    assert "current_model_state" in saved, "and the raw weights are kept for resuming"
    assert first_difference(saved["state_dict"], saved["current_model_state"]) != ""
