"""A GPU that the machine does not have, or that this build of torch has no kernels for, is refused in one line."""

import pytest
import torch

from nf_mnist.errors import MachineError
from nf_mnist.hardware import check_n_devices, resolve_accelerator, resolve_device
from tests.support.helpers import merge, run_command, tiny_overrides, write_images

WHEEL = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"]  # of the pinned version


@pytest.fixture
def card(monkeypatch):
    """Return a function that sets what card the machine seems to have, and what torch is built for."""

    def seem(capability: tuple[int, int], built_for: list[str]) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "Tesla V100")
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
        monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: built_for)

    return seem


@pytest.mark.parametrize(
    ("capability", "built_for", "runs"),
    [
        ((7, 5), WHEEL, True),
        ((8, 9), WHEEL, True),
        ((9, 0), ["sm_90a"], True),
        ((12, 1), WHEEL, True),
        ((10, 3), ["sm_90", "compute_90"], True),
        ((7, 0), WHEEL, False),
        ((6, 1), WHEEL, False),
        ((8, 0), ["sm_75", "sm_86"], False),
    ],
)
def test_a_card_without_kernels_is_refused(capability, built_for, runs, card):
    card(capability, built_for)
    if runs:
        assert (resolve_device("auto").type, resolve_accelerator("auto"), resolve_accelerator("gpu")) == (
            *("cuda", "cuda"),
            "gpu",
        )
        return
    for resolve, name in ((resolve_device, "auto"), (resolve_device, "cuda:0"), (resolve_accelerator, "gpu")):
        with pytest.raises(MachineError, match=r"no kernels for Tesla V100, .* make setup TORCH_INDEX=https://"):
            resolve(name)
    assert (resolve_device("cpu").type, resolve_accelerator("cpu")) == ("cpu", "cpu")


def test_a_training_on_a_card_without_kernels_ends_in_one_line(card, tmp_path):
    card((7, 0), WHEEL)
    overrides = tiny_overrides(write_images(tmp_path / "images.npz"), tmp_path / "run")
    ended = run_command("train", *merge(overrides, ["trainer.accelerator=auto", "trainer.max_steps=1"]))
    assert (ended.code, ended.err.count("\n")) == (1, 1)
    assert "compute capability 7.0" in ended.err
    assert not (tmp_path / "run" / "run.json").exists()


def test_more_gpus_than_there_are_are_refused(card):
    card((9, 0), WHEEL)
    check_n_devices(1, "cuda")
    check_n_devices(2, "cpu")
    with pytest.raises(MachineError, match=r"trainer\.devices=2, but torch sees 1 GPUs here"):
        check_n_devices(2, "cuda")
