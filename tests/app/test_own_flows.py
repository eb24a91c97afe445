"""A user's own flow, with layers of any library: trained, sampled, evaluated, completed, diagnosed and swept."""

import csv
import importlib
import json
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from nf_mnist.app.composing import register_resolvers
from tests.support.helpers import merge, run_command, tiny_overrides, write_images

HEAD = """
import torch
from nf_mnist.adapters import FromFrEIA, FromNflows, FromNormflows, FromZuko
from nf_mnist.bijectors import Flatten, Logit, Sequential
from nf_mnist.flows import Flow

SHAPE = (1, 8, 8)
"""
MODULES = {
    "none": """
from nf_mnist.bijectors import ActNorm

def build(n_layers=1):
    return Sequential([Logit(), *(ActNorm(SHAPE) for _ in range(n_layers))])
""",
    "normflows": """
import normflows as nf

def build(hidden_channels=8):
    blocks = [nf.flows.GlowBlock(4, hidden_channels) for _ in range(2)]
    net = nf.nets.LipschitzCNN([4, 8, 4], [3, 3], 0.9)
    normflow = nf.NormalizingFlow(None, [nf.flows.Residual(net), *blocks, nf.flows.Squeeze()])
    inner = FromNormflows(normflow.float())   # normflows holds a spectral norm in float64
    return Flow(Sequential([Logit(), inner, Flatten((4, 4, 4))]), SHAPE)
""",
    "nflows": """
from nflows import transforms
from nflows.nn.nets import ConvResidualNet

def build(hidden_channels=8):
    net = lambda n_in, n_out: ConvResidualNet(n_in, n_out, hidden_channels=hidden_channels, num_blocks=1)
    layers = [transforms.SqueezeTransform(), transforms.ActNorm(4), transforms.OneByOneConvolution(4),
              transforms.AffineCouplingTransform(torch.tensor([1, 0, 1, 0]), net)]
    inner = FromNflows(transforms.CompositeTransform(layers))
    return Flow(Sequential([Logit(), inner, Flatten((4, 4, 4))]), SHAPE)
""",
    "zuko": """
import zuko

def build(hidden_features=16):
    inner = FromZuko(zuko.flows.NSF(64, transforms=2, hidden_features=(hidden_features,)))
    return Flow(Sequential([Logit(), Flatten(SHAPE), inner]), SHAPE)
""",
    "FrEIA": """
from FrEIA.framework import SequenceINN
from FrEIA.modules import AllInOneBlock, HaarDownsampling

def build(hidden_channels=8):
    def subnet(n_in, n_out):
        convs = torch.nn.Conv2d(n_in, hidden_channels, 3, padding=1), torch.nn.Conv2d(hidden_channels, n_out, 1)
        return torch.nn.Sequential(convs[0], torch.nn.ReLU(), convs[1])
    network = SequenceINN(*SHAPE)
    network.append(HaarDownsampling)
    for _ in range(2):
        network.append(AllInOneBlock, subnet_constructor=subnet)
    return Flow(Sequential([Logit(), FromFrEIA(network), Flatten((4, 4, 4))]), SHAPE)
""",
}
WITHOUT_PARAMETERS = """
def build():
    return Sequential([Logit(), Flatten(SHAPE)])
"""
LIBRARIES = [pytest.param(name, marks=pytest.mark.slow) for name in MODULES if name != "none"]


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Return a function from a library to the overrides of a training of a flow with its layers."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    def overrides(library: str) -> list[str]:
        if library != "none":
            pytest.importorskip(library)
        name = f"own_{library}"
        (tmp_path / f"{name}.py").write_text(HEAD + MODULES[library])
        sys.modules.pop(name, None)
        importlib.invalidate_caches()
        images = write_images(tmp_path / "images.npz", side=8)
        tiny = [text for text in tiny_overrides(images, tmp_path / "run") if not text.startswith("model")]
        more = [f"flow._target_={name}.build", f"trust=[{name}]", "trainer.max_steps=3", "logger.tensorboard=null"]
        return merge(tiny, more)

    return overrides


@pytest.mark.parametrize("library", ["none", *LIBRARIES])
def test_an_own_flow_is_trained_sampled_evaluated_completed_and_diagnosed(library, own, tmp_path):
    overrides = own(library)
    ended = run_command("train", *overrides)
    assert ended.code == 0, ended.err
    assert "bpd" in json.loads((tmp_path / "run" / "metrics.json").read_text())
    trained = ["ckpt=run/checkpoints/best.ckpt", f"trust=[own_{library}]", "device=cpu"]
    for name, more in {
        "sample": ["n=4", "out=samples.png"],
        "evaluate": ["evaluation.n_images=8", "evaluation.n_draws=2", "out=again.json"],
        "inpaint": ["n_images=2", "method=logit_adam", "method.n_steps=3", "out=completed"],
        "diagnose": ["n_images=20", "out=diagnosis", "check_seconds=20"],
    }.items():
        ended = run_command(name, *trained, *more)
        assert ended.code == 0, (name, ended.err)
    results = {row["check"]: row["status"] for row in json.loads(Path("diagnosis/report.json").read_text())["results"]}
    assert results["inverse undoes forward"] != "fail"
    assert results["log-determinant is that of the Jacobian"] != "fail"


def test_a_checkpoint_of_an_own_flow_needs_the_same_trust(own):
    assert run_command("train", *own("none"), "evaluation=null").code == 0
    ended = run_command("sample", "ckpt=run/checkpoints/best.ckpt", "n=4", "out=samples.png")
    assert ended.code == 1
    assert "pass trust=[own_none]" in ended.err


def test_a_module_that_is_not_trusted_is_not_trained(own):
    ended = run_command("train", *merge(own("none"), ["trust=[]"]))
    assert ended.code == 1
    assert "could run code; if you trust it, pass trust=[own_none]" in ended.err


def test_a_flow_without_parameters_is_not_trained(own):
    overrides = own("none")
    Path("own_none.py").write_text(HEAD + WITHOUT_PARAMETERS)
    ended = run_command("train", *overrides)
    assert ended.code == 1
    assert "no parameters to train; PyTorch finds layers in an nn.ModuleList" in ended.err


def test_a_run_of_an_own_flow_has_the_name_of_its_module():
    register_resolvers()
    named = OmegaConf.create({"own": "${run_name:my_module.build,resflow}", "model": "${run_name:null,resflow}"})
    assert (named.own, named.model) == ("my_module", "resflow")


@pytest.mark.slow
def test_a_setting_of_an_own_flow_is_swept(own, tmp_path):
    overrides = [*own("none"), "evaluation=null", "+flow.n_layers=1,2"]
    ended = run_command("train", "-m", *overrides)
    assert ended.code == 0, ended.err
    with Path("run/report.csv").open() as file:
        rows = [(row["+flow.n_layers"], row["status"]) for row in csv.DictReader(file)]
    assert sorted(rows) == [("1", "completed"), ("2", "completed")]
