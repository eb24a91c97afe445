"""Muon: orthogonal updates for matrices, AdamW for the rest."""

import math
import re

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from nf_mnist.errors import ConfigError
from nf_mnist.training import muon
from nf_mnist.training.muon import Muon, orthogonalize
from tests.support.helpers import compose_config
from tests.support.registry import FLOWS

SETTINGS = {"lr": 1e-2, "matrix_lr": 0.1, "adam": ["last"], "momentum": 0.9, "betas": (0.9, 0.99), "weight_decay": 0.1}


@pytest.mark.parametrize("shape", [(3, 8, 20), (2, 20, 8), (1, 1, 5)])
def test_singular_vectors_stay_and_singular_values_become_about_one(shape):
    matrices = torch.randn(shape)
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    turned = left.mT @ orthogonalize(matrices).float() @ right.mT
    values = turned.diagonal(dim1=1, dim2=2)
    assert values.min() > 0.6
    assert values.max() < 1.3
    assert (turned - torch.diag_embed(values)).abs().max() < 0.05


def iterated(values: torch.Tensor) -> torch.Tensor:
    """Return singular values after five steps of the published quintic (Jordan et al. 2024)."""
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return values


def test_singular_values_go_through_the_published_polynomial_which_keeps_them_near_one():
    values = torch.logspace(-1.5, 0, 12, dtype=torch.float64)
    left, right = (torch.linalg.qr(torch.randn(n, 12, dtype=torch.float64)).Q for n in (12, 30))
    turned = left.mT @ orthogonalize((left * values @ right.mT)[None].float())[0].double() @ right
    relative = values / values.norm()
    assert_close(turned.diagonal(), iterated(relative), rtol=1e-4, atol=0)
    reached = iterated(torch.linspace(relative.min().item(), 1, 100_001, dtype=torch.float64))
    assert reached.min() > 0.68
    assert reached.max() < 1.21


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.ModuleDict({"hidden": nn.Conv2d(2, 4, 3), "last": nn.Linear(4, 5)})  # gradients of full rank


def train(module: nn.Module, optimizer: torch.optim.Optimizer, n_steps: int) -> None:
    for step in range(n_steps):
        generator = torch.Generator().manual_seed(step)
        x = torch.randn(8, 2, 3, 3, generator=generator)
        optimizer.zero_grad()
        module["last"](module["hidden"](x).flatten(1)).square().sum().backward()
        optimizer.step()


def test_a_step_of_a_kernel_has_the_size_of_its_rate_whatever_the_gradient():
    module = network()
    optimizer = Muon(module.named_parameters(), **{**SETTINGS, "weight_decay": 0.0})
    before = module["hidden"].weight.detach().clone()
    train(module, optimizer, 1)
    step = torch.linalg.svdvals((module["hidden"].weight - before).flatten(1)) / SETTINGS["matrix_lr"]
    assert step.min() > 0.6
    assert step.max() < 1.3


def test_without_a_gradient_weights_decay_by_rate_times_decay():
    module = network()
    before = {name: value.detach().clone() for name, value in module.named_parameters()}
    optimizer = Muon(module.named_parameters(), **SETTINGS)
    for value in module.parameters():
        value.grad = torch.zeros_like(value)
    optimizer.step()
    for name, value in module.named_parameters():
        rate = SETTINGS["matrix_lr" if name == "hidden.weight" else "lr"]
        assert_close(value, (1 - rate * SETTINGS["weight_decay"]) * before[name], msg=name)


def test_parameters_of_adamw_are_updated_as_by_adamw():
    module, other = network(), network()
    train(module, Muon(module.named_parameters(), **{**SETTINGS, "adam": ["hidden", "last"]}), 3)
    train(other, torch.optim.AdamW(other.parameters(), lr=1e-2, betas=(0.9, 0.99), weight_decay=0.1), 3)
    for own, expected in zip(module.parameters(), other.parameters(), strict=True):
        assert_close(own, expected)


def test_matrices_with_one_row_or_column_are_updated_by_adamw():
    values = {name: nn.Parameter(torch.ones(shape)) for name, shape in {"row": (1, 4), "column": (4, 1, 1)}.items()}
    matrix = nn.Parameter(torch.ones(2, 2))
    optimizer = Muon([*values.items(), ("matrix", matrix)], **SETTINGS)
    assert [len(group["params"]) for group in optimizer.param_groups] == [2, 1]
    assert optimizer.param_groups[1]["params"][0] is matrix


def test_gradients_are_left_as_they_were():
    module = network()
    train(module, Muon(module.named_parameters(), **SETTINGS), 1)
    assert all(value.grad is not None for value in module.parameters())


def test_a_resumed_optimizer_goes_on_as_if_it_had_not_stopped():
    whole, halves = network(), network()
    optimizer = Muon(whole.named_parameters(), **SETTINGS)
    first = Muon(halves.named_parameters(), **SETTINGS)
    train(whole, optimizer, 3)
    train(halves, first, 3)
    resumed = Muon(halves.named_parameters(), **SETTINGS)
    resumed.load_state_dict(first.state_dict())
    train(whole, optimizer, 3)
    train(halves, resumed, 3)
    for own, expected in zip(halves.parameters(), whole.parameters(), strict=True):
        assert torch.equal(own, expected)


def test_the_configured_names_of_first_and_last_layers_are_those_of_the_networks():
    flow = FLOWS["hierarchical"]()
    settings = compose_config(["optimizer=muon"]).optimizer
    own = {key: settings[key] for key in SETTINGS}
    names = {value: name for name, value in flow.named_parameters()}
    _, matrices = Muon(flow.named_parameters(), **own).param_groups
    updated_by_muon = [names[value] for value in matrices["params"]]
    ends = [name for name in names.values() if re.search(r"\.(conv|proj)_(in|out)\.", name)]
    assert {re.search(r"(conv|proj)_(in|out)", name).group() for name in ends} >= {"conv_in", "conv_out"}
    assert updated_by_muon
    assert not set(updated_by_muon) & set(ends)


@pytest.mark.parametrize("change", [{"matrix_lr": -1.0}, {"momentum": 1.0}])
def test_settings_out_of_range_are_refused(change):
    with pytest.raises(ConfigError, match="matrix_lr >= 0"):
        Muon(network().named_parameters(), **{**SETTINGS, **change})


@pytest.mark.parametrize("shape", [(2, 8, 30), (2, 30, 8), (2, 12, 12), (2, 1, 9)])
@pytest.mark.parametrize("smallest", [1.0, 1e-3, 1e-8])
def test_iterations_on_the_gram_matrix_are_those_on_the_matrix(shape, smallest):
    generator = torch.Generator().manual_seed(0)
    matrices = torch.randn(shape, dtype=torch.float64, generator=generator)
    matrices *= torch.logspace(0, math.log10(smallest), shape[1], dtype=torch.float64)[:, None]
    x = matrices / matrices.norm(dim=(1, 2), keepdim=True)
    for _ in range(muon.N_ITERATIONS):
        gram = x @ x.mT
        x = muon.A * x + (muon.B * gram + muon.C * gram @ gram) @ x
    rounding = 1e-3  # float32's, which grows by up to A^2 in an iteration
    assert_close(orthogonalize(matrices.float()).double(), x, rtol=0, atol=rounding)


@pytest.mark.parametrize("factor", [1e-12, 1e-20, 1e-30])
def test_rows_that_have_decayed_to_nothing_are_nothing(factor):
    """Products of such numbers are subnormal, and take a CPU fifty times as long as others."""
    matrices = torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(0))
    without = matrices.clone()
    without[:, ::2] = 0
    matrices[:, ::2] *= factor
    assert torch.equal(orthogonalize(matrices), orthogonalize(without))
    assert orthogonalize(matrices)[:, 1::2].abs().max() > 0.1
