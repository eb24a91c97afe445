"""Every file in conf/ composes, and everything that can be trained takes a step."""

from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

from _helpers import SMALL, compose_config, fit, merge, tiny_overrides, write_images
from nf_mnist.config import config_dir
from nf_mnist.errors import DivergenceError

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
        given = ["name=x", "run_dir=x"] if is_training else ["ckpt=x.ckpt", "out=x"]
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
    assert "#" in text


def steps(tmp_path: Path, *overrides: str, model: str = "resflow"):
    base = tiny_overrides(write_images(tmp_path / "images.npz"), tmp_path / "run", model)
    return fit(merge([*base, "logger.tensorboard=null", "trainer.max_steps=1"], overrides))


@pytest.mark.parametrize("model", options("model"))
def test_every_model_takes_a_step(model, tmp_path):
    trained = steps(tmp_path, model=model)
    assert trained.trainer.global_step == 1
    assert trained.trainer.callback_metrics["train/loss"].isfinite()


@pytest.mark.parametrize("model", ["resflow", "cp3", "glow", "uva_vardeq"])
@pytest.mark.parametrize("switch", ["norm=none", "norm=batchnorm", "norm=actnorm", "preprocess=gaussianize"])
def test_every_switch_of_affine_models_takes_a_step(model, switch, tmp_path):
    assert steps(tmp_path, f"model.{switch}", model=model).trainer.global_step == 1


@pytest.mark.parametrize(
    "override",
    [
        f"{group}={name}"
        for group in ("optimizer", "scheduler", "callbacks", "trainer")
        for name in options(group)
        if name not in ("classifier", "quality")  # quality judges images of 28x28 pixels alone
    ]
    + ["logger=default", "model.preprocess=none", "model.channels_last=false", "data.dequantizer=none"]
    + ["model.recompute=true"]
    + [f"model.flow.scale={scale}" for scale in ("tanh", "soft_clamp", "none", "double_tanh")]
    + ["model.flow.mask=stripes", "model.flow.mlp_features=0", "model.flow.n_scales=1"],
)
def test_every_option_takes_a_step(override, tmp_path):
    assert steps(tmp_path, override).trainer.global_step == 1


def test_a_model_with_labels_takes_a_step_and_shows_its_views(tmp_path):
    views = [
        f"callbacks.{view}={{_target_:nf_mnist.training.callbacks.{name},{setting}}}"
        for view, name, setting in (
            ("samples", "LogSamples", "n_samples:3,temperatures:[1.0]"),
            ("round_trip", "LogRoundTrip", "n_images:4"),
        )
    ]
    assert steps(tmp_path, "model.flow.n_classes=10", *views, model="hierarchical").trainer.global_step == 1


@pytest.mark.parametrize("experiment", options("experiment"))
def test_every_experiment_takes_a_step(experiment, tmp_path):
    model = compose_config([f"experiment={experiment}"]).model.flow._target_.rpartition(".")[2]
    overrides = [
        f"experiment={experiment}",
        *SMALL[model],
        "data.n_validation=59000",
        "trainer.max_steps=1",
        "trainer.limit_val_batches=1",
        "data.eval_batch_size=8",
        "logger.tensorboard=null",
        f"output_dir={tmp_path}/run",
    ]
    # The first riddle is a loss that is no number.
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
