"""A setting of the wrong kind or out of range is refused by its full name, wherever it is checked."""

import re

import pytest
from omegaconf import OmegaConf

from nf_mnist.app.building import build_flow
from nf_mnist.app.composing import instantiate
from nf_mnist.app.kinds import check_kinds
from nf_mnist.app.settings import NULLABLE, NULLABLE_IN_EVALUATE, RANGES, check_ranges
from nf_mnist.errors import ConfigError, SettingError, check_range
from tests.support.helpers import NOISE, compose_config

NO_INTEGERS = ("abc", 1.5, None, True, [])
FLOWS = {  # model: the smallest number that each of its settings may be
    "resflow": {"hidden_channels": 1, "mlp_features": 0, "n_scales": 1},
    "cp3": {"n_couplings": 1, "hidden_channels": 1, "mlp_features": 0},
    "glow": {"n_scales": 0, "n_steps": 1, "hidden_channels": 1, "n_classes": 0},
    "realnvp": {"n_scales": 1, "hidden_channels": 1, "n_blocks": 0, "n_classes": 0},
    "spline": {"n_steps": 1, "hidden_channels": 1, "n_blocks": 0, "n_bins": 1, "n_classes": 0},
    "nice": {"n_couplings": 1, "n_hidden": 0, "hidden_features": 1, "n_classes": 0},
    "jet": {"patch_size": 1, "n_couplings": 1, "transformer_features": 1, "transformer_blocks": 1, "n_classes": 0},
    "hierarchical": {
        "n_scales": 0,
        "channels": 1,
        "n_blocks": 0,
        "n_components": 1,
        "n_references": 0,
        "n_frequent": 0,
        "transformer_features": 1,
        "transformer_heads": 1,
        "transformer_blocks": 0,
        "n_classes": 0,
    },
}
FLOWS["conditional"] = {key: low for key, low in FLOWS["hierarchical"].items() if key != "n_classes"}


@pytest.mark.parametrize(("model", "key"), [(model, key) for model, keys in FLOWS.items() for key in keys])
def test_a_size_of_a_flow_is_checked_by_its_builder(model, key):
    cfg, setting = compose_config([f"model={model}"]), f"model.flow.{key}"
    for value in (*NO_INTEGERS, FLOWS[model][key] - 1):
        OmegaConf.update(cfg, setting, value)
        with pytest.raises(ConfigError, match=rf"^{re.escape(setting)} must be "):
            build_flow(cfg.model)


@pytest.mark.parametrize(
    ("group", "setting", "values"),
    [
        ("model.noise", "model.noise.n_couplings", ("0", "abc")),
        ("model.noise", "model.noise.hidden_channels", ("0", "1.5")),
        ("callbacks.ema", "callbacks.ema.decay", ("2", "-0.1", "abc", "nan")),
        ("scheduler", "scheduler.warmup", ("abc", "null")),
        ("optimizer", "optimizer.matrix_lr", ("abc", "null")),
        ("model.flow", "model.flow.permutation_seed", ("abc", "-1")),
        ("model.flow.preprocess", "model.flow.preprocess.count_log_det", ("off", "1")),
    ],
)
def test_other_arguments_are_checked_by_their_functions(group, setting, values):
    given = ["model=cp3", "optimizer=muon", "+callbacks.ema={_target_:nf_mnist.training.callbacks.AverageWeights}"]
    for value in values:
        cfg = compose_config([*given, f"model.noise={NOISE}", "+callbacks.ema.decay=0.5", f"{setting}={value}"])
        with pytest.raises(ConfigError, match=rf"^{re.escape(setting)} must be "):
            instantiate(OmegaConf.select(cfg, group))


def test_the_classifier_checks_its_width():
    for value in ("0", "abc"):
        cfg = compose_config([f"classifier.channels={value}"], "train_classifier")
        with pytest.raises(ConfigError, match=r"^classifier\.channels must be "):
            instantiate(cfg.classifier)


COMMANDS = {
    "train": ("model=resflow", "run_dir=x", "name=x"),
    "evaluate": ("ckpt=x",),
    "sample": ("ckpt=x",),
    "inpaint": ("ckpt=x", "method=posterior"),
    "train_classifier": ("run_dir=x", "name=x"),
    "diagnose": ("ckpt=x",),
    "play": (),
}


def test_every_setting_of_the_table_is_one_of_some_command_and_is_refused_by_its_name():
    seen = set()
    composed = [(name, compose_config(given, name)) for name, given in COMMANDS.items()]
    composed += [
        ("inpaint", compose_config(["ckpt=x", f"method={name}"], "inpaint")) for name in ("mode", "logit_ascent")
    ]
    for name, cfg in composed:
        nullable = NULLABLE_IN_EVALUATE if name == "evaluate" else NULLABLE
        for key, (_, low, high) in RANGES.items():
            if OmegaConf.select(cfg, key, default="absent") == "absent":
                continue
            seen.add(key)
            for value in (
                "abc",
                True,
                float("nan"),
                float("inf"),
                low - 1,
                *([] if high == float("inf") else [high + 1]),
            ):
                spoilt = OmegaConf.create(OmegaConf.to_container(cfg, resolve=False))
                OmegaConf.update(spoilt, key, value)
                with pytest.raises(ConfigError, match=rf"^{re.escape(key)} must be "):
                    check_ranges(spoilt, nullable)
    assert seen == RANGES.keys()


def test_kinds_follow_annotations():
    node = OmegaConf.create({"flow": {"_target_": "nf_mnist.flows.cp3", "n_couplings": 1.5}})
    with pytest.raises(ConfigError, match=r"^flow\.n_couplings must be a whole number, got 1\.5"):
        check_kinds(node)
    for correct in ({"n_couplings": 2, "scale_activation": "tanh"}, {"n_couplings": "???"}, {"nosuch": "abc"}):
        check_kinds(OmegaConf.create({"_target_": "nf_mnist.flows.cp3", **correct}))
    check_kinds(OmegaConf.create({"_target_": "torch.optim.Adam", "lr": "abc"}))  # foreign annotations are not ours


def test_a_function_names_its_argument_and_a_command_the_whole_setting():
    check_range(0, 1, share=0, other=1)
    with pytest.raises(SettingError, match=r"^share must be from 0 to 1, got 2"):
        check_range(0, 1, other=1, share=2)
    with pytest.raises(SettingError, match=r"^n must be at least 1, got 0"):
        check_range(1, n=0)
