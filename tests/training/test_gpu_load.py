"""What a run says of its GPU, on a card that torch pretends to have; on a CPU it says nothing."""

from types import SimpleNamespace

import pytest
import torch

from nf_mnist.app.building import build_flow
from nf_mnist.errors import ConfigError
from nf_mnist.training import gpu
from tests.support.helpers import SMALL, compose_config


@pytest.fixture
def card(monkeypatch) -> torch.device:
    properties = SimpleNamespace(name="A card", total_memory=80 * 2**30, major=9, minor=0)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 3 * 2**29)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    return torch.device("cuda", 0)


def test_memory_and_utilization_are_shown_where_they_are_known(card, monkeypatch):
    monkeypatch.setattr(torch.cuda, "utilization", lambda device: 97)
    load = gpu.GPULoad(card)
    assert (load.mean_utilization(), load.text()) == (None, "1.5 GiB, GPU 97%")
    monkeypatch.setattr(torch.cuda, "utilization", lambda device: 51)
    load.text()
    assert load.mean_utilization() == 74

    def refuse(device):
        raise ModuleNotFoundError("nvidia-ml-py does not seem to be installed")

    monkeypatch.setattr(torch.cuda, "utilization", refuse)
    assert gpu.GPULoad(card).text() == "1.5 GiB"
    cpu = torch.device("cpu")
    assert (gpu.GPULoad(cpu).text(), gpu.GPULoad(cpu).mean_utilization(), gpu.peak_memory_gib(cpu)) == ("", None, None)


def test_the_record_names_the_driver_and_cuda(card, monkeypatch, tmp_path):
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho 580.95.05\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    expected = {"name": "A card", "memory_gib": 80, "capability": "9.0", "driver": "580.95.05"}
    assert gpu.gpu_record(card) == {**expected, "cuda": torch.version.cuda}
    monkeypatch.setenv("PATH", "")
    assert gpu.gpu_record(card)["driver"] is None
    assert gpu.gpu_record(torch.device("cpu")) is None


def test_the_trainers_name_the_hardware():
    names = ("default", "cpu", "gpu", "ddp")
    trainers = {name: compose_config([f"trainer={name}", "run_dir=x"]).trainer for name in names}
    found = {name: (node.accelerator, node.devices, node.strategy) for name, node in trainers.items()}
    assert found == {
        "default": ("auto", 1, "auto"),
        "cpu": ("cpu", 1, "auto"),
        "gpu": ("gpu", 1, "auto"),
        "ddp": ("gpu", "auto", "ddp"),
    }
    assert all(node.keys() == trainers["default"].keys() for node in trainers.values())


def test_networks_are_compiled_in_the_mode_that_is_asked_for(monkeypatch):
    modes = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, mode: modes.append(mode))
    for compiled, expected in (("true", None), ("reduce-overhead", "reduce-overhead")):
        modes.clear()
        build_flow(compose_config(["model=glow", *SMALL["glow"], f"model.compile={compiled}"]).model)
        assert set(modes) == {expected}
    with pytest.raises(ConfigError, match=r"model\.compile must be true or false, or one of reduce-overhead"):
        build_flow(compose_config(["model=glow", *SMALL["glow"], "model.compile=fast"]).model)
