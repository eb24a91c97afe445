"""A convolution normalized by the statistics of its patches equals the two layers one after the other."""

import copy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from nf_mnist.nets.normed_conv import convolve_and_normalize


def layers(channels: int, **settings) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    conv, norm = nn.Conv2d(channels, 80, 3, **settings), nn.BatchNorm2d(80)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    return conv.double(), norm.double()


@pytest.mark.parametrize("channels", [1, 2])  # with 80 outputs it pays for patches of 9 elements, not of 18
@pytest.mark.parametrize("settings", [{"padding": 1}, {"padding": 0, "stride": 2}])
def test_values_gradients_and_running_statistics_are_those_of_the_layers(channels, settings):
    conv, norm = layers(channels, **settings)
    other_conv, other_norm = copy.deepcopy((conv, norm))
    x = (torch.randn(5, channels, 6, 8, dtype=torch.float64) + 2).requires_grad_()
    other_x = x.detach().clone().requires_grad_()
    found, expected = convolve_and_normalize(x, conv, norm), other_norm(other_conv(other_x))
    assert_close(found, expected)
    weights = torch.randn_like(found)
    (found * weights).sum().backward()
    (expected * weights).sum().backward()
    assert_close(x.grad, other_x.grad)
    for layer, other_layer in ((conv, other_conv), (norm, other_norm)):
        for name, value in layer.named_parameters():
            expected = other_layer.get_parameter(name).grad
            assert_close(value.grad, expected, atol=1e-11, rtol=1e-9, msg=name)
    for name, value in norm.state_dict().items():
        assert_close(value, other_norm.state_dict()[name], msg=name)


def test_in_evaluation_the_running_statistics_are_used():
    conv, norm = layers(1)
    norm.running_mean.normal_()
    norm.eval()
    x = torch.randn(3, 1, 6, 6, dtype=torch.float64)
    before = norm.running_mean.clone()
    assert torch.equal(convolve_and_normalize(x, conv, norm), norm(conv(x)))
    assert torch.equal(norm.running_mean, before)


def test_averages_without_a_momentum_are_plain_ones():
    conv, norm = layers(1)
    norm.momentum = None
    batches = torch.randn(3, 4, 1, 6, 6, dtype=torch.float64)
    for x in batches:
        convolve_and_normalize(x, conv, norm)
    assert_close(norm.running_mean, torch.stack([conv(x).mean((0, 2, 3)) for x in batches]).mean(0))
