"""Variational dequantization is a density on each level's box, gives a bound, and is part of the checkpoint."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close

from nf_mnist.app.building import build_dequantizer, build_module
from nf_mnist.app.trained import load_trained
from nf_mnist.data import UniformDequantizer, VariationalDequantizer, draw_noise, to_levels
from nf_mnist.errors import CheckpointError, ConfigError
from nf_mnist.flows import uva_noise
from nf_mnist.metrics import log_mean_exp
from tests.support.helpers import (
    NOISE,
    compose_config,
    first_difference,
    fit,
    run_command,
    tiny_overrides,
    write_images,
)
from tests.support.registry import unsettle

LAST = 2**15 - 1
LOG_WIDTH = math.log(
    (1 - 2 * VariationalDequantizer.MARGIN) / 256
)  # log-width of the interval that a pixel's noise can reach


def learned(shape: tuple[int, int, int], spread: float = 1) -> VariationalDequantizer:
    """Return a dequantizer with random parameters; a larger spread takes it further from uniform."""
    dequantizer = unsettle(VariationalDequantizer(uva_noise(event_shape=shape, n_couplings=4, hidden_channels=4)))
    with torch.no_grad():
        for name, parameter in dequantizer.named_parameters():
            parameter.mul_(spread if ".conv_out." in name else 1)
    return dequantizer.eval()


def test_it_begins_as_uniform_dequantization():
    levels = torch.randint(256, (20, 1, 4, 4), dtype=torch.uint8)
    noise = draw_noise(levels)
    dequantizer = VariationalDequantizer(uva_noise(event_shape=(1, 4, 4), n_couplings=4, hidden_channels=4))
    (x, log_q), (uniform_x, uniform_log_q) = dequantizer(levels, noise), UniformDequantizer()(levels, noise)
    assert (x - uniform_x).abs().max() < 2e-5 / 256
    assert (log_q - uniform_log_q).abs().max() < 1e-3


@torch.no_grad()
def test_every_image_stays_in_the_box_of_its_levels():
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    dequantizer = learned((1, 16, 16), spread=20)
    for noise in (torch.zeros_like(levels, dtype=torch.int64), torch.full((1, 1, 16, 16), LAST), draw_noise(levels)):
        x, log_q = dequantizer(levels, noise)
        assert torch.equal(to_levels(x), levels)
        assert x.min() > 0
        assert x.max() < 1
        assert log_q.isfinite().all()


def test_its_density_is_that_of_the_jacobian(monkeypatch):
    monkeypatch.setattr(torch, "get_default_dtype", lambda: torch.float64)
    dequantizer, levels = learned((1, 3, 4)).double(), torch.randint(256, (1, 1, 3, 4), dtype=torch.uint8)
    noise = draw_noise(levels).double()
    jacobian = torch.func.jacrev(lambda k: dequantizer(levels, k)[0])(noise).reshape(12, 12)
    log_density = -torch.linalg.slogdet(jacobian).logabsdet - 12 * 15 * math.log(
        2
    )  # the density of noise, u = (k + 1/2) / 2^15
    assert_close(dequantizer(levels, noise)[1], log_density[None])


@torch.no_grad()
def test_the_noise_depends_on_the_levels():
    dequantizer = learned((1, 4, 4))
    dark, bright = torch.zeros(1, 1, 4, 4, dtype=torch.uint8), torch.full((1, 1, 4, 4), 255, dtype=torch.uint8)
    noise = draw_noise(dark)
    assert not torch.allclose(dequantizer(dark, noise)[1], dequantizer(bright, noise)[1])


@torch.no_grad()
def test_it_bounds_the_likelihood_and_draws_tighten_the_bound():
    # Under the uniform density an image of 16 pixels has probability 256^-16; q covers all of its box but the margins.
    levels = torch.randint(256, (1, 1, 4, 4), dtype=torch.uint8).expand(8192, -1, -1, -1)
    log_ratio = -learned((1, 4, 4), spread=0.15)(levels, draw_noise(levels))[1].double()
    exact = 16 * LOG_WIDTH
    single, tight = log_ratio.mean(), log_mean_exp(log_ratio.reshape(64, -1)).mean()
    standard_error = (log_ratio - exact).exp().std() / math.sqrt(len(levels))
    assert abs((log_ratio - exact).exp().mean() - 1) < 4 * standard_error
    assert single < exact
    assert abs(exact - tight) < (exact - single) / 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Return a folder with ``images.npz`` and ``run``, where a flow and a dequantization flow were trained."""
    folder = tmp_path_factory.mktemp("variational")
    images = write_images(folder / "images.npz")
    overrides = [*tiny_overrides(images, folder / "run"), f"model.noise={NOISE}", "trainer.max_steps=3"]
    assert run_command("train", *overrides, "logger.tensorboard=null").code == 0
    return folder


def test_a_step_moves_every_parameter_of_the_dequantizer(tmp_path):
    images = write_images(tmp_path / "images.npz")
    overrides = [*tiny_overrides(images, tmp_path / "run"), f"model.noise={NOISE}", "logger.tensorboard=null"]
    before = {name: value.clone() for name, value in build_module(compose_config(overrides)).named_parameters()}
    after = dict(fit([*overrides, "trainer.max_steps=20", "scheduler=constant"]).module.named_parameters())
    names = [name for name in before if name.startswith("dequantizer.")]
    assert names
    for name in names:
        assert not torch.equal(before[name], after[name]), name


def test_the_dequantizer_is_restored_and_counted(folder, tmp_path):
    path = folder / "run" / "checkpoints" / "best.ckpt"
    stored = torch.load(path, weights_only=True)["state_dict"]
    flow, dequantizer, *_ = load_trained(path)
    assert not dequantizer.training
    assert {f"dequantizer.{name}" for name in dequantizer.state_dict()} == {n for n in stored if n.startswith("deq")}
    for name, value in dequantizer.state_dict().items():
        assert torch.equal(value, stored[f"dequantizer.{name}"]), name
    assert run_command("evaluate", f"ckpt={path}", f"out={tmp_path}/metrics.json").code == 0
    metrics, again = (json.loads((part / "metrics.json").read_text()) for part in (folder / "run", tmp_path))
    assert metrics["parameters"] == sum(p.numel() for part in (flow, dequantizer) for p in part.parameters())
    assert metrics["bpd_log_mean_exp"] < metrics["bpd"]
    for key in ("bpd", "bpd_log_mean_exp", "parameters"):
        assert again[key] == metrics[key]


def test_released_weights_hold_the_dequantizers_too(folder, tmp_path):
    path, small = folder / "run" / "checkpoints" / "best.ckpt", tmp_path / "small.ckpt"
    assert run_command("export", f"ckpt={path}", f"out={small}").code == 0
    rounded = {name: value.bfloat16().float() for name, value in load_trained(path).dequantizer.state_dict().items()}
    assert first_difference(dict(load_trained(small).dequantizer.state_dict()), rounded) == ""


def test_a_fresh_start_takes_over_the_dequantizers_weights(folder, tmp_path):
    path = folder / "run" / "checkpoints" / "best.ckpt"
    base = [*tiny_overrides(folder / "images.npz", tmp_path / "run"), f"init_from={path}", "logger.tensorboard=null"]
    frozen = ["optimizer.lr=0", "trainer.max_steps=1", f"model.noise={NOISE}"]
    assert run_command("train", *base, *frozen).code == 0
    begun = load_trained(tmp_path / "run" / "checkpoints" / "last.ckpt").dequantizer.state_dict()
    assert first_difference(begun, load_trained(path).dequantizer.state_dict()) == ""


@pytest.mark.parametrize("spoil", ["missing", "shape"])
def test_a_checkpoint_without_fitting_weights_is_refused(spoil, folder, tmp_path):
    checkpoint = torch.load(folder / "run" / "checkpoints" / "best.ckpt", weights_only=True)
    name = next(name for name in checkpoint["state_dict"] if name.startswith("dequantizer."))
    if spoil == "missing":
        del checkpoint["state_dict"][name]
    else:
        checkpoint["state_dict"][name] = torch.zeros(7)
    torch.save(checkpoint, tmp_path / "spoilt.ckpt")
    with pytest.raises(CheckpointError, match="another architecture"):
        load_trained(tmp_path / "spoilt.ckpt")


@pytest.mark.parametrize(
    "target",
    ["os.system", "nf_mnist.app.command.write_text", "nf_mnist.app.trained.load_trained", "nf_mnist.data.mnist"],
)
def test_a_flow_of_noise_that_names_foreign_code_is_refused(target, folder, tmp_path):
    checkpoint = torch.load(folder / "run" / "checkpoints" / "best.ckpt", weights_only=True)
    checkpoint["config"]["model"]["noise"] = {"_target_": target, "_args_": [f"touch {tmp_path}/created"]}
    torch.save(checkpoint, tmp_path / "hostile.ckpt")
    with pytest.raises(CheckpointError, match="is refused"):
        load_trained(tmp_path / "hostile.ckpt")
    assert [path.name for path in tmp_path.iterdir()] == ["hostile.ckpt"]


def test_a_noise_that_is_no_flow_of_noise_is_refused(folder, tmp_path):
    checkpoint = torch.load(folder / "run" / "checkpoints" / "best.ckpt", weights_only=True)
    checkpoint["config"]["model"]["noise"] = {"_target_": "nf_mnist.flows.uva_noise", "nosuch": 1}
    torch.save(checkpoint, tmp_path / "foreign.ckpt")
    with pytest.raises(CheckpointError, match="no dequantizer can be built"):
        load_trained(tmp_path / "foreign.ckpt")


@pytest.mark.parametrize("kind", ["none", "cp3"])
def test_noise_is_learned_for_uniform_dequantization_alone(kind):
    cfg = compose_config([f"model.noise={NOISE}", f"data.dequantizer={kind}"])
    with pytest.raises(ConfigError, match=f"got {kind}; use model.noise=null"):
        build_dequantizer(cfg.data, cfg.model)
