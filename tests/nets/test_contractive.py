"""Convolutions of bounded spectral norm, and networks made of them."""

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from nf_mnist.errors import SettingError
from nf_mnist.nets import ContractiveNet, SpectralConv
from nf_mnist.training.callbacks.averaging import move_average


def spectral_norm(kernel: torch.Tensor, sides: tuple[int, int]) -> torch.Tensor:
    """Return the norm of a convolution of images of this size from its whole matrix."""
    shape = (1, kernel.shape[1], *sides)

    def convolved(x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x.reshape(shape), kernel, padding=kernel.shape[-1] // 2).flatten()

    matrix = torch.autograd.functional.jacobian(convolved, torch.zeros(shape, dtype=kernel.dtype).flatten())
    return torch.linalg.matrix_norm(matrix, 2)


def steep_conv(kernel_size: int) -> SpectralConv:
    conv = SpectralConv(2, 3, kernel_size, (5, 4), coefficient=0.7).double()
    with torch.no_grad():
        conv.weight *= 5
    return conv


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_the_norm_is_that_of_the_convolution_of_images(kernel_size):
    conv = steep_conv(kernel_size)
    for _ in range(600):
        conv.kernel()
    assert_close(conv.norm(), spectral_norm(conv.weight, (5, 4)), rtol=1e-6, atol=0)
    assert_close(spectral_norm(conv.kernel(), (5, 4)).item(), 0.7, rtol=1e-6, atol=0)


def test_a_kernel_of_small_norm_is_left_alone():
    conv = steep_conv(3)
    with torch.no_grad():
        conv.weight *= 0.5 / spectral_norm(conv.weight, (5, 4))
    conv.eval()
    assert_close(conv.kernel(), conv.weight, rtol=0, atol=0)


def test_training_follows_weights_and_evaluation_leaves_its_estimate_alone():
    conv = steep_conv(3).eval()
    before = conv.measured_right.clone()
    conv.kernel()
    assert torch.equal(conv.measured_right, before)
    conv.train()
    with torch.no_grad():
        conv.weight += torch.randn_like(conv.weight)
    for _ in range(100):
        conv.kernel()
    assert_close(conv.norm(), spectral_norm(conv.weight, (5, 4)), rtol=1e-3, atol=0)


def test_evaluation_changes_nothing_in_the_training():
    conv = steep_conv(3)
    conv.kernel()
    before = {name: value.clone() for name, value in conv.state_dict().items()}
    conv.eval().train()
    assert all(torch.equal(value, before[name]) for name, value in conv.state_dict().items())


def test_weights_that_are_loaded_in_evaluation_are_measured():
    one, other = steep_conv(3).eval(), steep_conv(3).eval()
    other.load_state_dict(one.state_dict())
    assert_close(other.norm(), one.norm(), rtol=1e-6, atol=0)
    assert_close(one.norm(), spectral_norm(one.weight, (5, 4)), rtol=1e-2, atol=0)


def test_averaged_weights_are_normalised_anew_when_the_mode_changes():
    one, other = steep_conv(3), steep_conv(3)
    for conv in (one, other):
        for _ in range(100):
            conv.kernel()
    move_average([*one.parameters(), *one.buffers()], [*other.parameters(), *other.buffers()], 0.5)
    true = spectral_norm(one.weight, (5, 4))
    assert one.norm() < 0.9 * true, "averages of singular vectors are no singular vectors"
    one.eval()
    assert_close(one.norm(), true, rtol=1e-2, atol=0)


@pytest.mark.parametrize(("shape", "kernels"), [((2, 4, 4), (3, 1, 3)), ((6,), (1, 1, 1))])
def test_a_network_moves_two_events_no_further_apart_than_its_bound(shape, kernels):
    torch.manual_seed(0)
    net = ContractiveNet(shape, 8, kernels, coefficient=0.9).double()
    with torch.no_grad():
        for conv in net.convs:
            conv.weight *= 10
    net.eval()
    x, y = torch.randn(2, 50, *shape, dtype=torch.float64)
    layers = net.layers()
    moved = (net(x, layers) - net(y, layers)).flatten(1).norm(dim=1)
    assert (moved / (x - y).flatten(1).norm(dim=1)).max() < net.lipschitz_bound() == pytest.approx(0.9**3)


def test_the_slope_of_lipswish_reaches_one_and_goes_no_further():
    net = ContractiveNet((1,), 1, (1,), coefficient=0.9).double()
    with torch.no_grad():
        net.convs[0].weight.fill_(10)
    net.eval()
    x = torch.linspace(-9, 9, 20_001, dtype=torch.float64)
    slope = net(x[:, None], net.layers()).flatten().diff() / x.diff()
    assert 0.999 * 0.9 < slope.max().item() <= 0.9


def test_kernels_are_merged_with_the_steepness_of_lipswish():
    net = ContractiveNet((3,), 8, (1, 1, 1), coefficient=0.9).double().eval()
    x = torch.randn(5, 3, dtype=torch.float64)
    with torch.no_grad():
        net.raw_steepness += torch.randn(3)
    hidden = x
    for conv, raw in zip(net.convs, net.raw_steepness, strict=True):
        hidden = hidden * torch.sigmoid(F.softplus(raw) * hidden) / 1.1
        hidden = F.linear(hidden, conv.kernel().flatten(1), conv.bias)
    assert_close(net(x, net.layers()), hidden)


@pytest.mark.parametrize("coefficient", [0.0, 1.0, 1.2])
def test_a_coefficient_that_makes_no_contraction_is_refused(coefficient):
    with pytest.raises(SettingError, match=f"coefficient must be between 0 and 1, both excluded, got {coefficient}"):
        ContractiveNet((1, 4, 4), 8, (3, 1, 3), coefficient)


def test_a_kernel_with_an_even_side_is_refused():
    with pytest.raises(SettingError, match="kernel_sizes must be odd, got 2"):
        ContractiveNet((1, 4, 4), 8, (3, 2, 3), 0.9)
