"""Every file in conf/ composes, and everything that can be trained takes a step."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep
from omegaconf import OmegaConf

from nf_mnist.app.building import build_dequantizer, build_flow, build_module
from nf_mnist.app.composing import config_dir
from nf_mnist.app.settings import check_ranges
from nf_mnist.bijectors import AffineCoupling, DiscretizedMixture, GroupedMixture
from nf_mnist.errors import DivergenceError
from tests.support.helpers import NOISE, SMALL, compose_config, fit, merge, tiny_overrides, write_idx, write_images
from tests.support.sampling import sampled

CONF = Path(config_dir())
FILES = sorted(CONF.rglob("*.yaml"))


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONF).with_suffix("")))
def test_every_file_composes_and_resolves(path, tmp_path):
    group, name = path.parent.relative_to(CONF), path.stem
    images = write_images(tmp_path / "images.npz")
    if str(group) == ".":
        is_training = name.startswith("train")
        given = ["name=x", "run_dir=x"] if is_training else ["ckpt=x.ckpt"]
        given += ["out=x"] if not is_training and "\nout:" in path.read_text() else []
        cfg = compose_config([*given, f"output_dir={tmp_path}"], name)
    elif str(group).startswith("model/"):
        cfg = compose_config([f"output_dir={tmp_path}", "name=x", "run_dir=x"])
    elif str(group) == "method":
        cfg = compose_config([f"method={name}", "ckpt=x.ckpt", f"output_dir={tmp_path}"], "inpaint")
    else:
        path_override = [f"path={images}"] if (str(group), name) == ("data", "array") else []
        cfg = compose_config([f"{group}={name}", *path_override, f"output_dir={tmp_path}", "run_dir=x", "name=x"])
    OmegaConf.resolve(cfg)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONF).with_suffix("")))
def test_every_file_says_what_it_is_for(path):
    text = path.read_text()
    assert yaml.safe_load(text), "it holds something"
    assert re.search(r"^# [^@]", text, re.M), "a line in words, besides the package"


def steps(tmp_path: Path, *overrides: str, model: str = "resflow"):
    base = tiny_overrides(write_images(tmp_path / "images.npz"), tmp_path / "run", model)
    return fit(merge([*base, "logger.tensorboard=null", "trainer.max_steps=1"], overrides))


@pytest.mark.parametrize("model", options("model"))
def test_every_model_takes_a_step(model, tmp_path):
    trained = steps(tmp_path, model=model)
    assert trained.trainer.global_step == 1
    assert trained.trainer.callback_metrics["train/loss"].isfinite()


def understands_switches(model: str) -> bool:
    """Return whether the defaults of a model's file lead to base/image.yaml."""
    entries = yaml.safe_load((CONF / "model" / f"{model}.yaml").read_text()).get("defaults", [])
    names = [entry.partition("@")[0] for entry in entries if isinstance(entry, str)]
    return any(name == "base/image" or (name in options("model") and understands_switches(name)) for name in names)


IMAGE_MODELS = [model for model in options("model") if understands_switches(model)]
SWITCHES = [  # by their key in base/image.yaml
    *("norm=none", "norm=batchnorm", "norm=actnorm", "preprocess=none", "preprocess=gaussianize", "preprocess=logit"),
    *("channels_last=false", "recompute=true", f"noise={NOISE}"),
]
QUICK = ("resflow", "cp3", "glow", "uva_vardeq")


def test_every_switch_is_tried():
    base = yaml.safe_load((CONF / "model" / "base" / "image.yaml").read_text())
    assert base.keys() - {"flow", "compile"} == {switch.partition("=")[0] for switch in SWITCHES}
    assert set(QUICK) < set(IMAGE_MODELS)
    assert not {"hierarchical", "conditional"} & set(IMAGE_MODELS)


@pytest.mark.parametrize(
    "model", [model if model in QUICK else pytest.param(model, marks=pytest.mark.slow) for model in IMAGE_MODELS]
)
@pytest.mark.parametrize("switch", SWITCHES, ids=lambda switch: switch.partition("={")[0])
def test_every_switch_that_every_image_model_understands_takes_a_step(model, switch, tmp_path):
    assert steps(tmp_path, f"model.{switch}", model=model).trainer.global_step == 1


def test_all_networks_of_all_sizes_run_compiled_in_training_and_in_validation(monkeypatch):
    import torch._dynamo

    compile_module = torch.nn.Module.compile
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, mode: compile_module(self, backend="eager"))  # no C++
    monkeypatch.setattr(torch._dynamo.config, "recompile_limit", 8)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    sizes = ["model.flow.channels=4", "model.flow.n_blocks=1", "model.flow.transformer_features=4"]
    flow = build_flow(compose_config(["model=hierarchical", "model.compile=true", *sizes]).model)
    flow.log_prob(torch.rand(2, 1, 28, 28)).sum().backward()
    with torch.no_grad():
        flow.eval().log_prob(torch.rand(3, 1, 28, 28))
    frames = torch._dynamo.utils.counters["frames"]
    assert frames["ok"] == frames["total"] > 8


@pytest.mark.parametrize("model", ["resflow", "hierarchical", "uva_vardeq"])
def test_compile_compiles_the_networks_of_bijectors_and_nothing_else(model):
    """Compilation waits for the first call, which never comes."""
    cfg = compose_config([f"model={model}", *SMALL[model], "model.compile=true"])
    flow, dequantizer = build_flow(cfg.model), build_dequantizer(cfg.data, cfg.model)
    modules = [*flow.modules(), *dequantizer.modules()]
    compiled = {module for module in modules if module._compiled_call_impl is not None}
    affine = [part for part in modules if isinstance(part, AffineCoupling)]
    mixtures = [part for part in modules if isinstance(part, DiscretizedMixture | GroupedMixture)]
    networks = {net for part in affine for net in (part.scale_net, part.shift_net, part.scale_activation)}
    networks |= {part.net for part in mixtures}
    assert compiled
    assert compiled == {net for net in networks if isinstance(net, torch.nn.Module)}


@pytest.mark.parametrize(
    "override",
    [
        f"{group}={name}"
        for group in ("optimizer", "scheduler", "callbacks", "trainer")
        for name in options(group)
        # quality measures images of 28x28 pixels only, and ddp starts processes
        if name not in ("classifier", "quality", "ddp")
    ]
    + ["logger=default", "data.dequantizer=none"]
    + [f"model.flow.scale_activation={scale}" for scale in ("tanh", "soft_clamp", "none", "double_tanh")]
    + ["model.flow.mask=stripes", "model.flow.mlp_features=0", "model.flow.n_scales=1"],
)
def test_every_option_takes_a_step(override, tmp_path):
    assert steps(tmp_path, override).trainer.global_step == 1


def searched(name: str) -> dict[str, Any]:
    """Return the settings that a sweep's file searches, each with its first choice."""
    node = yaml.safe_load((CONF / "sweep" / f"{name}.yaml").read_text())
    params = node.get("hydra", {}).get("sweeper", {}).get("params", {})
    first = {}
    for key, text in params.items():
        value = OverridesParser.create().parse_override(f"{key}={text}").value()
        first[key] = value.list[0] if isinstance(value, ChoiceSweep) else value.start
    return first


@pytest.mark.parametrize("sweep", [name for name in options("sweep") if searched(name)])
def test_what_a_sweep_searches_is_there_and_in_range(sweep, tmp_path):
    if "search" in sweep:
        pytest.importorskip("optuna", reason="needs nf_mnist[sweep]")
    first = searched(sweep)
    given = [f"sweep={sweep}", f"output_dir={tmp_path}", "run_dir=x", "name=x"]
    cfg = compose_config([*given, *(f"{key}={value}" for key, value in first.items())])
    assert all(OmegaConf.select(cfg, key) == value for key, value in first.items())
    check_ranges(cfg)
    build_module(cfg)


@pytest.mark.parametrize(("debug", "n_images"), [("limit", 70), ("overfit", 1)])
def test_every_way_to_debug_takes_a_step(debug, n_images, tmp_path):
    base = tiny_overrides(write_images(tmp_path / "images.npz"), tmp_path / "run")
    base = [override for override in base if not override.startswith("evaluation.")]  # it may be null
    given = [f"debug={debug}", "data.batch_size=1", "trainer.max_steps=1", "logger.tensorboard=null"]
    trained = fit(merge(base, given))
    assert trained.trainer.global_step == 1
    assert len(trained.data.train.levels) == n_images, "of the 82 that are not for the test"


@pytest.mark.parametrize(
    ("data", "folder", "parts"),
    [
        ("fashion_mnist", "FashionMNIST", ("train", "t10k")),
        ("kmnist", "KMNIST", ("train", "t10k")),
        ("emnist", "EMNIST", ("emnist-balanced-train", "emnist-balanced-test")),
    ],
)
def test_a_set_of_torchvision_takes_a_step_where_it_is_already(data, folder, parts, tmp_path):
    raw = tmp_path / folder / "raw"
    raw.mkdir(parents=True)
    for part, n in zip(parts, (20, 5), strict=True):
        images = np.arange(n * 784).reshape(n, 28, 28) % 256
        write_idx(raw / f"{part}-images-idx3-ubyte", images.transpose(0, 2, 1) if data == "emnist" else images)
        write_idx(raw / f"{part}-labels-idx1-ubyte", np.arange(n) % 10)
    overrides = [f"data={data}", f"data.source.root={tmp_path}", "data.n_validation=4", "data.batch_size=8"]
    overrides += [*SMALL["resflow"], f"output_dir={tmp_path}/run", "name=x", "trainer.max_steps=1", "~logger"]
    trained = fit(overrides)
    assert trained.trainer.global_step == 1
    assert (len(trained.data.train.levels), len(trained.data.test.levels)) == (16, 5)
    assert trained.data.test.levels.flatten().tolist() == [number % 256 for number in range(5 * 784)]


def test_a_model_with_labels_takes_a_step_and_shows_its_views(tmp_path):
    views = [
        f"callbacks.{view}={{_target_:nf_mnist.training.callbacks.{name},{setting}}}"
        for view, name, setting in (
            ("samples", "LogSamples", "n_samples:3,temperatures:[1.0]"),
            ("round_trip", "LogRoundTrip", "n_images:4"),
        )
    ]
    assert steps(tmp_path, "model.flow.n_classes=10", *views, model="hierarchical").trainer.global_step == 1


@pytest.mark.parametrize("experiment", sampled(options("experiment")))
def test_every_experiment_takes_a_step(experiment, tmp_path):
    model = compose_config([f"experiment={experiment}"]).model.flow._target_.rpartition(".")[2]
    overrides = [
        f"experiment={experiment}",
        *SMALL[model],
        "data.n_validation=59000",
        "trainer.max_steps=1",
        "trainer.limit_val_batches=1",
        "trainer.accelerator=cpu",
        "model.compile=false",
        "data.eval_batch_size=8",
        "logger.tensorboard=null",
        f"output_dir={tmp_path}/run",
    ]
    # The first riddle is a loss that becomes NaN.
    error = DivergenceError if experiment == "riddle_01_nan_loss" else None
    assert fit(overrides, expect=error).trainer.global_step == 1


@pytest.mark.parametrize("data", ["mnist", "mnist_cp3"])
def test_the_bundled_data_takes_a_step(data, tmp_path):
    overrides = [
        "data.n_validation=59000",
        "trainer.max_steps=1",
        "data.batch_size=4",
        f"output_dir={tmp_path}",
        "name=x",
    ]
    trained = fit([f"data={data}", "logger.tensorboard=null", *SMALL["resflow"], *overrides, "model.flow.n_scales=3"])
    assert ("train/bpd" in trained.trainer.callback_metrics) == (data == "mnist")


def test_the_command_line_has_the_last_word():
    assert compose_config(["model=cp3"]).optimizer.lr == 6e-5, "a model may bring its own recipe"
    assert compose_config(["model=cp3", "optimizer=adam"]).optimizer.lr == 1e-3
    assert compose_config(["model=cp3", "optimizer.lr=0.5"]).optimizer.lr == 0.5
    assert compose_config(["experiment=resflow_1h", "model.norm=none"]).model.norm == "none"
    assert compose_config(["experiment=resflow_1h", "optimizer.lr=0.5"]).optimizer.lr == 0.5
    assert compose_config(["data.logit_alpha=0.1"]).model.flow.preprocess.logit_alpha == 0.1
