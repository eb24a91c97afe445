"""What is measured around data and prior has the values that mathematics gives."""

import pytest
import torch
from torch import Tensor

from nf_mnist.bijectors import Bijector, Flatten, Sequential
from nf_mnist.diagnostics import likeness, noise_drop, perturbation_error
from nf_mnist.flows import Flow

DEVIATION = 0.05


class Standardize(Bijector):
    """z = (x - 1/2) / DEVIATION."""

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return (x - 0.5) / DEVIATION, x.new_zeros(len(x))

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return 0.5 + DEVIATION * z, z.new_zeros(len(z))


@pytest.fixture
def gaussian(float64) -> Flow:
    return Flow(Sequential([Standardize(), Flatten((1, 8, 8))]), (1, 8, 8))


def test_noise_costs_a_gaussian_half_its_squared_ratio_to_the_deviation(gaussian):
    x = gaussian.sample(4000)
    drop = noise_drop(gaussian, x, [0.0, 0.01, 0.05], seed=1)
    assert drop.scales == (0.0, 0.01, 0.05)
    expected = [0.5 * (scale / DEVIATION) ** 2 for scale in drop.scales]
    assert drop.nats_per_dim == pytest.approx(expected, rel=0.02, abs=1e-12)


def test_a_perturbation_of_latents_moves_images_by_the_deviation(gaussian):
    x = gaussian.sample(500)
    assert perturbation_error(gaussian, x, 0.1) == pytest.approx(0.1 * DEVIATION, rel=0.02)
    assert perturbation_error(gaussian, x, 0.0) < 1e-12


def test_samples_of_the_same_distribution_are_like_data_and_noise_is_not():
    bars = torch.zeros(2000, 1, 8, 8)
    bars[:, :, :, 3:5] = 1 - 0.2 * torch.rand(2000, 1, 8, 2)
    same = likeness(bars[:1000], bars[1000:])
    assert same.mean_error < 0.2
    assert same.lit_ratio == pytest.approx(1)
    noise = likeness(torch.rand(1000, 1, 8, 8), bars)
    assert noise.mean_error > 5
    assert noise.lit_ratio == pytest.approx(0.9 * 4, rel=0.02)
