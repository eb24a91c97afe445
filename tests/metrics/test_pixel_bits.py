"""The bits of pixels add up to those of the image, and are those that a sequential code would spend."""

import math

import pytest
import torch

from nf_mnist.errors import ConfigError
from nf_mnist.metrics import bits_of_pixels, has_pixel_bits, nearest, nearest_distance
from tests.support.registry import make_flow


def drawn(n: int) -> torch.Tensor:
    return torch.randint(256, (n, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["hierarchical", "conditional"])
def test_bits_of_pixels_add_up_to_those_of_the_image(name, float64):
    flow, levels = make_flow(name), drawn(3)
    bits = bits_of_pixels(flow, levels)
    log_p = flow.log_prob((levels + 0.5) / 256) - 64 * math.log(256)  # the density is constant on the box of an image
    torch.testing.assert_close(bits.sum((1, 2)), -log_p / math.log(2), rtol=1e-9, atol=0)
    assert bits.min() >= 0


@pytest.mark.parametrize("name", ["hierarchical", "conditional"])
def test_a_pixel_changes_the_bits_of_itself_and_of_those_that_are_predicted_later(name, float64):
    flow, levels = make_flow(name), drawn(1)
    changed = levels.clone()
    changed[0, 0, 1, 0] ^= 128  # of the channel that is predicted last: it stands at 10 in its block of 2x2
    after, before = bits_of_pixels(flow, changed)[0], bits_of_pixels(flow, levels)[0]
    assert after[1, 0] != before[1, 0]
    earlier = torch.ones(8, 8, dtype=torch.bool)
    earlier[1::2, 0::2] = False
    torch.testing.assert_close(after[earlier], before[earlier], rtol=1e-12, atol=0)


def test_the_flow_is_left_as_it_was(float64):
    flow, levels = make_flow("conditional"), drawn(1)
    before = flow.log_prob((levels + 0.5) / 256)
    bits_of_pixels(flow, levels)
    assert not any(module._forward_hooks for module in flow.modules())
    assert torch.equal(flow.log_prob((levels + 0.5) / 256), before)


def test_other_flows_have_no_bits_of_pixels():
    flow = make_flow("resflow")
    assert not has_pixel_bits(flow)
    with pytest.raises(ConfigError, match="no order"):
        bits_of_pixels(flow, drawn(1))


def test_the_nearest_row_is_the_one_at_the_smallest_distance():
    x, others = torch.randn(5, 3), torch.randn(40, 3)
    distances = torch.cdist(x, others)
    assert torch.equal(nearest(x, others), distances.argmin(1))
    torch.testing.assert_close(nearest_distance(x, others), distances.amin(1))
