"""The cures of a diagnosis fit the flow that they are offered for."""

from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from nf_mnist.app.building import build_flow
from nf_mnist.app.composing import config_dir
from nf_mnist.app.cures import cure_command, fitting, model_name
from nf_mnist.diagnostics import CHECKS
from tests.support.helpers import compose_config
from tests.support.sampling import sampled

MODELS = sorted(path.stem for path in Path(config_dir(), "model").glob("*.yaml"))
OVERRIDES = sorted({override for check in CHECKS for override in check.overrides})


def resolved(overrides: list[str]) -> DictConfig:
    """Return a configuration as a checkpoint holds it."""
    cfg = compose_config(overrides)
    return OmegaConf.create({key: OmegaConf.to_container(cfg[key], resolve=True) for key in ("model", "data")})


@pytest.mark.parametrize("model", sampled(MODELS))
def test_every_cure_composes_with_every_model_that_it_is_offered_for(model):
    cfg = resolved([f"model={model}"])
    offered = fitting(OVERRIDES, cfg)
    for override in offered:
        changed = compose_config([f"model={model}", override])
        if override.startswith("model."):
            build_flow(changed.model)
    command = cure_command(OVERRIDES, cfg)
    assert command.startswith("python -m nf_mnist.train model=") == bool(offered)
    assert all(override in command for override in offered)


def test_a_cure_is_offered_where_it_changes_something_and_nowhere_else():
    glow, hierarchical = (resolved([f"model={name}"]) for name in ("glow", "hierarchical"))
    tanh = "model.flow.scale_activation=tanh"
    assert fitting([tanh], glow) == [tanh]
    assert fitting([tanh, "model.norm=actnorm"], hierarchical) == []
    assert fitting(["data.dequantizer=uniform"], glow) == []
    assert cure_command([tanh], None) == "", "a user's own flow has no settings of ours"


def test_pixels_get_a_logit_where_they_have_none():
    logit, none, gaussianize = (
        resolved(["model=realnvp", f"model.preprocess={name}"]) for name in ("logit", "none", "gaussianize")
    )
    offered = ["model.preprocess=logit", "model.flow.norm.policy=running"]
    assert fitting(offered, none) == offered[:1]
    assert fitting(offered[:1], logit) == fitting(offered[:1], gaussianize) == []


def test_running_statistics_in_training_are_not_offered_where_statistics_are_measured_anew():
    running = "model.flow.norm.policy=running"
    assert fitting([running], compose_config(["model=maf"])) == []
    assert fitting([running], compose_config(["model=maf", "callbacks.statistics=null"])) == [running]


def test_the_name_of_a_model_is_found_by_what_it_builds():
    assert model_name(resolved(["model=glow"])) == "glow"
    assert model_name(OmegaConf.create({"model": {"flow": {"_target_": "my.flow"}}})) is None
