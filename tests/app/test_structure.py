"""Parts, texts and lists of every command are refused by their names where a setting of another kind is given."""

import re

import pytest
from omegaconf import OmegaConf

from nf_mnist.app.kinds import check_kind
from nf_mnist.app.settings import check_ranges
from nf_mnist.app.structure import BUILT_PARTS, LISTS, NULLABLE_PARTS, PARTS, TEXTS, check_structure
from nf_mnist.errors import ConfigError
from tests.support.helpers import NOISE, compose_config

OF_A_RUN = ("run_dir=x", "name=x", "output_dir=x")
COMMANDS = {  # name: with every part that the command may have
    "train": (*OF_A_RUN, f"model.noise={NOISE}"),
    "train_classifier": OF_A_RUN,
    "evaluate": ("ckpt=x", "output_dir=x", "data=mnist"),
    "sample": ("ckpt=x", "output_dir=x"),
    "inpaint": ("ckpt=x", "output_dir=x"),
    "diagnose": ("output_dir=x",),
    "export": ("ckpt=x", "out=x", "output_dir=x"),
    "play": ("output_dir=x",),
    "export_page": ("output_dir=x",),
}
NO_TEXTS = (5, 1.5, True, [], {})
NO_LISTS = ("x", 1, None, {})
NO_PARTS = (3, "abc", True, [])
NULLABLE_TEXTS = {  # settings whose default is null
    "train": {"ckpt", "init_from", "rerun", "trainable"},
    "evaluate": {"radius_plot", "temperature_plot", "per_image", "ood_data"},
    "inpaint": {"image"},
    "diagnose": {"ckpt"},
}


@pytest.mark.parametrize("command", COMMANDS)
def test_each_setting_is_refused_by_its_name_where_another_kind_is_given(command):
    cfg = OmegaConf.to_container(compose_config(COMMANDS[command], command))
    check_structure(OmegaConf.create(cfg), command)
    seen = set()

    def refused(key, value):
        spoilt = OmegaConf.create(cfg)
        OmegaConf.update(spoilt, key, value, merge=False)
        with pytest.raises(ConfigError, match=rf"^{re.escape(key)} must be a"):
            check_structure(spoilt, command)

    for keys, values in ((TEXTS, NO_TEXTS), (LISTS, NO_LISTS), ((*PARTS, *BUILT_PARTS), NO_PARTS)):
        for key in keys:
            if OmegaConf.select(OmegaConf.create(cfg), key, default="absent") != "absent":
                seen.add(key)
                is_nullable = key in NULLABLE_PARTS or key in NULLABLE_TEXTS.get(command, ())
                for value in (*values, *([] if is_nullable or None in values else [None])):
                    refused(key, value)
                if is_nullable:
                    OmegaConf.update(spoilt := OmegaConf.create(cfg), key, None, merge=False)
                    check_structure(spoilt, command)
    assert "output_dir" in seen


def test_callbacks_and_loggers_are_parts_that_are_built_or_null():
    for key, value in (("callbacks.samples", 3), ("logger.csv", {}), ("callbacks.best", {"_target_": None})):
        cfg = compose_config(OF_A_RUN)
        OmegaConf.update(cfg, key, value, merge=False)
        with pytest.raises(ConfigError, match=rf"^{re.escape(key)} must be a part with a _target_.*, or null"):
            check_structure(cfg, "train")
        OmegaConf.update(cfg, key, None, merge=False)
        check_structure(cfg, "train")


def test_a_run_may_be_named_by_a_number_and_a_file_called_like_one_is_quoted():
    check_structure(compose_config(["run_dir=x", "output_dir=x", "name=3"]), "train")
    for value in ("[]", "null", "{a:1}"):
        with pytest.raises(ConfigError, match=r"^name must be a text"):
            check_structure(compose_config(["run_dir=x", "output_dir=x", f"name={value}"]), "train")
    with pytest.raises(ConfigError, match=r"""'ckpt="5"'$"""):
        check_structure(compose_config(["ckpt=5", "output_dir=x"], "sample"), "sample")
    check_structure(compose_config(['ckpt="5"', "output_dir=x"], "sample"), "sample")


def test_whole_numbers_have_at_most_64_bits():
    check_kind("n", 2**63 - 1, int)
    for value in (2**63, -(2**63) - 1, 10**30):
        for kind in (int, float):
            with pytest.raises(ConfigError, match=rf"^n must be a .*got {value}, which has more than 64 bits$"):
                check_kind("n", value, kind)
    with pytest.raises(ConfigError, match=r"^n must be a whole number from 1 to 2147483647, got 9223372036854775808, "):
        check_ranges(OmegaConf.create({"n": 2**63}))
