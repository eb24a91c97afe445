"""An arithmetic coder confirms the bits per dimension that the hierarchical flow reports."""

import pytest
import torch

from nf_mnist.flows import Flow
from tests.support.registry import make_flow

audit_bpd = pytest.importorskip("benchmarks.density.audit_bpd", reason="needs constriction: pip install constriction")


@pytest.fixture
def flow() -> Flow:
    return make_flow("hierarchical", torch.float32)


def test_every_pixel_is_decoded_exactly_once(flow):
    pixels = [pixels for pixels, _ in audit_bpd.predictions(flow, torch.zeros(1, 64, dtype=torch.uint8))]
    assert len(pixels) == 3 + 4
    assert sorted(torch.cat(pixels).tolist()) == list(range(64))


def test_flow_levels_and_file_agree_and_images_are_read_back_unchanged(flow):
    with torch.no_grad():
        levels = (flow.sample(60) * 256).floor().to(torch.uint8)
    by_levels = audit_bpd.discrete_bpd(flow, levels.flatten(1))
    by_flow = audit_bpd.flow_bpd(flow, levels, torch.arange(60))
    torch.testing.assert_close(by_flow, by_levels, atol=1e-4, rtol=0)
    code = audit_bpd.encode(flow, levels.flatten(1))
    assert 32 * len(code) / levels.numel() == pytest.approx(by_levels.mean().item(), rel=0.01)
    assert torch.equal(audit_bpd.decode(flow, code, 60), levels.flatten(1))
