"""Bits by kind of pixel and by image add up to those of the flow."""

import math

import pytest
import torch
from torch.testing import assert_close

from benchmarks.density.bits_by_kind import PixelBits, pixel_bits, summary
from tests.support.registry import make_flow


def test_bits_of_pixels_add_up_to_those_of_the_flow():
    flow = make_flow("hierarchical")
    levels = torch.randint(0, 256, (5, *flow.event_shape), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    levels[:, :, ::3] = 0
    bits = pixel_bits(flow.float(), levels)
    assert sorted(bits.level[2].tolist()) == sorted(levels[2].flatten().tolist())
    with torch.no_grad():
        log_p = flow.log_prob((levels.float() + 0.5) / 256).double() - flow.dims * math.log(256)
    assert_close((bits.kind + bits.rest).sum(1), -log_p / math.log(2), rtol=1e-4, atol=0)
    assert (bits.rest[bits.level == 0].abs() < 1e-6).all(), "a black pixel has no further level"
    assert (bits.kind > 0).all()


def test_parts_of_a_summary_add_up():
    level = torch.tensor([[0, 100, 252.0], [255, 255, 7]])
    found = summary(PixelBits(level, 0.1 * level, level), torch.tensor([40, 17]))
    assert sum(found["by_kind"].values()) == pytest.approx(found["bpd"])
    assert found["which_kind"] + found["which_level"] == pytest.approx(found["bpd"])
    assert found["by_kind"]["black"] == 0
    assert found["by_side"]["m = 40"] == pytest.approx(1.1 * 352 / 3)
    assert found["share_of_images"] == {"m = 40": 0.5, "m = 60": 0, "other m": 0.5}
    assert math.isnan(found["by_side"]["m = 60"])
