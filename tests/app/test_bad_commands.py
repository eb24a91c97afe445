"""A mistake in any command, in a sweep or in a rerun ends in one line and status 1, with nothing written."""

import sys

import pytest
import torch
from omegaconf import OmegaConf

from tests.support.helpers import merge, run_command, tiny_overrides
from tests.support.specimens import refuses

GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
OTHERS = [  # command, overrides, what the error says
    ("sample", "", "ckpt"),
    ("evaluate", "", "ckpt"),
    *[("sample", f"ckpt={{}}/{file}", file) for file in ("missing.ckpt", "truncated.ckpt", "text.npz", "mnist")],
    *[("evaluate", f"ckpt={{}}/{file}", file) for file in ("missing.ckpt", "truncated.ckpt", "foreign.ckpt")],
    ("evaluate", "ckpt={}/unmeasured.ckpt", "with evaluation=null; say batch_size and n_draws and seed and split"),
    *[(command, "{ckpt} device=nosuch", "unknown device 'nosuch'") for command in ("sample", "evaluate")],
    *[pytest.param(command, "{ckpt} device=cuda", "cuda", marks=GPU) for command in ("sample", "evaluate")],
    *[("sample", f"{{ckpt}} n={value}", "n must be") for value in ("0", "1.5", "abc", "null")],
    *[("sample", f"{{ckpt}} temperature={value}", "temperature must be") for value in ("-1", "abc")],
    ("sample", "{ckpt} batch_size=0", "batch_size must be"),
    ("sample", "{ckpt} device=mps", "unknown device 'mps'"),
    ("inpaint", "{ckpt} method=posterior method.n_chains=0", "method.n_chains must be"),
    ("inpaint", "{ckpt} method=logit_adam method.step=0", "method.step must be"),
    ("sample", "{ckpt} seed=-1", "seed must be"),
    ("sample", "{ckpt} label=3", "this flow has no class labels"),
    ("sample", "{ckpt} label=-1", "label must be"),
    ("sample", "{ckpt} out={}/text.npz/grid.png", "text.npz"),
    ("evaluate", "{ckpt} evaluation.split=nosuch", "unknown split 'nosuch'"),
    ("evaluate", "{ckpt} evaluation.n_draws=0", "evaluation.n_draws must be"),
    ("evaluate", "{ckpt} evaluation.n_images=abc", "evaluation.n_images must be"),
    ("evaluate", "{ckpt} evaluation.batch_size=-1", "evaluation.batch_size must be"),
    ("evaluate", "{ckpt} data=mnist", "this flow takes (1, 14, 14)"),
    ("evaluate", "{ckpt} data=array path={}/missing.npz", "missing.npz"),
]


@pytest.mark.parametrize(("command", "overrides", "said"), OTHERS)
def test_evaluate_and_sample_refuse_a_mistake(command, overrides, said, files, tmp_path):
    given = overrides.replace("{ckpt}", f"ckpt={files}/run/checkpoints/last.ckpt").replace("{}", str(files)).split()
    refuses(command, [f"output_dir={tmp_path}/run", *given], said, tmp_path)


def test_a_run_without_an_evaluation_is_evaluated_once_its_settings_are_given(files, tmp_path):
    given = {"batch_size": "8", "n_draws": "1", "seed": "0", "split": "test"}
    settings = [f"evaluation.{key}={value}" for key, value in given.items()]
    ended = run_command("evaluate", f"ckpt={files}/unmeasured.ckpt", *settings, f"output_dir={tmp_path}/metrics")
    assert ended.code == 0, ended.err


SWEEPS = [  # overrides, what the error says
    ("seed=0,1 model=resflow,nosuch", "model/nosuch"),
    ("seed=0,1 model.flow.nosuch=1,2", "nosuch"),
    ("optimizer.lr=interval(0,1)", "does not support sweep type"),
    ("seed=0,1 launcher=joblib hydra.launcher.n_jobs=0", "hydra.launcher.n_jobs must be at least 1, got 0"),
    ("seed=0,1 launcher=joblib hydra.launcher.n_jobs=abc", "n_jobs"),
    ("seed=0,1 launcher=nosuch", "launcher/nosuch"),
    ("seed=0,1 hydra/launcher=nosuch", "pip install 'nf_mnist[sweep]'"),
    ("sweep=nosuch", "sweep/nosuch"),
    ("sweep=random_resflow hydra.sweeper.n_trials=abc", "n_trials"),
    ("sweep=random_resflow hydra.sweeper.n_jobs=0", "hydra.sweeper.n_jobs must be at least 1, got 0"),
    ("sweep=random_resflow hydra.sweeper.storage=sqlite:////nowhere/at/all.db", "cannot use the study"),
    ("seed=0,1 output_dir={}/text.npz/sweep", "text.npz"),
    ("seed=0,", "quote a text: 'seed=\"0,\"'"),
]


@pytest.mark.parametrize(("overrides", "said"), SWEEPS)
def test_a_sweep_refuses_a_mistake_before_any_run(overrides, said, files, tmp_path):
    pytest.importorskip("optuna", reason="needs nf_mnist[sweep]")
    given = overrides.replace("{}", str(files)).split()
    base = tiny_overrides(files / "images.npz", tmp_path / "sweep")
    ended = run_command("train", "-m", *merge(base, given))
    assert said in ended.err
    assert (ended.code, ended.err.count("\n"), ended.err.startswith("error: ")) == (1, 1, True), ended.err
    assert not list(tmp_path.rglob("run.json"))


@pytest.mark.parametrize(
    ("run", "said"), [("missing", "holds no run to repeat"), ("text.npz", "holds no run"), ("mnist", "holds no run")]
)
def test_a_rerun_of_nothing_is_refused(run, said, files, tmp_path):
    refuses("train", [f"rerun={files}/{run}", f"output_dir={tmp_path}/run"], said, tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"3", b"a: [", b"model: 3", b"\xff\xfe", b"a: b: c", b"name: ${nosuch}"]
)
def test_a_rerun_of_a_damaged_configuration_names_the_file(content, tmp_path):
    (tmp_path / "old").mkdir()
    (config := tmp_path / "old" / "config.yaml").write_bytes(content)
    refuses(
        "train", [f"rerun={tmp_path}/old", f"output_dir={tmp_path}/run"], f"{config} is damaged: ", tmp_path / "run"
    )


def test_a_rerun_needs_every_part_of_its_configuration(files, tmp_path):
    (tmp_path / "old").mkdir()
    cfg = OmegaConf.load(files / "run" / "config.yaml")
    for spoilt, said in (({"trainer": None}, "trainer must be a part"), ({"ckpt": 5}, "ckpt must be a text")):
        OmegaConf.save(OmegaConf.merge(cfg, spoilt), tmp_path / "old" / "config.yaml")
        refuses("train", [f"rerun={tmp_path}/old", f"output_dir={tmp_path}/run"], said, tmp_path / "run")
    del cfg["model"]
    OmegaConf.save(cfg, tmp_path / "old" / "config.yaml")
    refuses("train", [f"rerun={tmp_path}/old", f"output_dir={tmp_path}/run"], "it lacks model", tmp_path / "run")


@pytest.mark.parametrize(
    ("command", "given", "said"),
    [
        ("train", "trained=rest", "trained is now trainable"),
        ("train", "+trained=rest", "trained is now trainable"),
        ("train", "model.flow.scale=tanh", "model.flow.scale is now model.flow.scale_activation"),
        ("train", "model.flow.n_levels=2", "model.flow.n_levels is now model.flow.n_scales"),
        ("train", "model.flow.trained_on=[upper]", "model.flow.trained_on is now model.flow.training_mask"),
        ("evaluate", "against=fashion_mnist", "against is now ood_data"),
        ("inpaint", "corruption=cp3", "corruption=cp3 is now corruption=gaussian_noise"),
    ],
)
def test_an_old_name_of_a_setting_is_refused_with_its_present_one(command, given, said, tmp_path):
    refuses(command, [f"output_dir={tmp_path}/run", given], said, tmp_path)


@pytest.mark.parametrize("command", ["train", "evaluate", "sample"])
def test_a_torchvision_that_does_not_match_torch_is_said_in_a_sentence(command, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    arguments = [] if command == "train" else ["ckpt=any.ckpt"]
    refuses(command, [f"output_dir={tmp_path}/run", *arguments], "torchvision does not work with torch", tmp_path)
