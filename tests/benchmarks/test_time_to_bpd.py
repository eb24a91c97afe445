"""Our models and the flows of other libraries are measured by the same bits on the same clock."""

import sys

import pytest
import torch

from benchmarks.measuring import rows_of
from benchmarks.speed import time_to_bpd
from benchmarks.speed.documented_peers import DIMS, PEERS, StandardizedLogits, bits


@pytest.fixture
def x():
    return torch.rand(64, 1, 28, 28, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_the_uniform_density_has_eight_bits():
    assert bits(torch.zeros(3)).tolist() == [8, 8, 8]


def test_the_log_determinant_of_standardized_logits_is_that_of_the_jacobian(x):
    logits = StandardizedLogits(x)
    y, log_det = logits(x)
    torch.testing.assert_close(y.mean(0), torch.zeros(DIMS, dtype=torch.float64))
    torch.testing.assert_close(y.std(0), torch.ones(DIMS, dtype=torch.float64))
    one = x[:1].requires_grad_()
    (slopes,) = torch.autograd.grad(logits(one)[0].sum(), one)  # the map is elementwise
    torch.testing.assert_close(log_det[:1], slopes.log().sum().unsqueeze(0))


@pytest.mark.parametrize("name", PEERS)
def test_every_parameter_of_a_peer_gets_a_gradient(name, x):
    pytest.importorskip(name.partition("_")[0])
    torch.manual_seed(0)
    peer = PEERS[name](x.float())
    nll = peer.nll(x[:2].float())
    assert nll.shape == (2,)
    assert nll.isfinite().all()
    nll.mean().backward()
    without = [key for key, value in peer.flow.named_parameters() if value.grad is None]
    assert not without


def test_rows_that_are_there_are_not_measured_again(tmp_path, monkeypatch):
    asked = []

    def measure(name, minutes, n_test, threads):
        asked.append((name, minutes))
        return {"bpd": 1.0, "n_images": n_test}

    monkeypatch.setattr(time_to_bpd, "measure_ours", measure)
    command = ["x", "--models", "glow", "--threads", "1", "--out", str(tmp_path / "rows.json"), "--marks"]
    for marks in (["1"], ["1", "4"], ["1", "4"]):
        monkeypatch.setattr(sys, "argv", [*command, *marks])
        time_to_bpd.main()
    assert asked == [("glow", 1), ("glow", 4)]
    assert list(rows_of(tmp_path / "rows.json")) == ["glow, 1 min", "glow, 4 min"]


@pytest.mark.slow
def test_the_race_is_rehearsed(tmp_path, monkeypatch):
    pytest.importorskip("zuko")
    out = ["--marks", "0.02", "0.05", "--test-images", "10", "--threads", "1", "--out", str(tmp_path / "rows.json")]
    monkeypatch.setattr(sys, "argv", ["x", "--models", "glow", "zuko_nsf", *out])
    time_to_bpd.main()
    rows = rows_of(tmp_path / "rows.json")
    assert len(rows) == 4
    assert all(row["seconds"] > 0.7 * 60 * row["minutes"] for row in rows.values())
