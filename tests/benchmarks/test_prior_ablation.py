"""Level priors that lack a part, and what trains with them."""

import json
import subprocess
import sys

import pytest
import torch
from torch.testing import assert_close

from benchmarks.density import reduced_prior
from benchmarks.density.reduced_prior import without_gamma, without_window
from nf_mnist.bijectors.level_prior import ANY_PART
from tests.support.helpers import tiny_overrides, write_images
from tests.support.printed import ROOT
from tests.support.registry import level_prior, mixture_coupling, unsettle


def test_without_a_window_the_middle_one_is_certain():
    prior, known = level_prior(), torch.randint(0, 256, (6, 8, 8), generator=torch.Generator().manual_seed(0))
    free = prior.believe(known.float(), ANY_PART)
    with without_window():
        fixed = prior.believe(known.float(), ANY_PART)
    middle = prior.log_window.shape[3] // 2
    assert (fixed.top == middle).all()
    assert (fixed.left == middle).all()
    assert ((free.top != middle) | (free.left != middle)).any()


def test_without_gamma_the_network_has_no_say_in_the_tilt():
    coupling = unsettle(mixture_coupling(2, level_prior())).double()
    x = torch.rand(4, 4, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        free, _ = coupling(x)
        with without_gamma():
            fixed, log_det = coupling(x)
            undone, log_det_back = coupling.inverse_and_log_det(fixed)
        coupling.net.conv_out.weight[-1].zero_()
        coupling.net.conv_out.bias[-1].zero_()
        untilted, _ = coupling(x)
    assert not torch.equal(fixed, free)
    assert_close(fixed, untilted)
    assert_close(undone, x)
    assert_close(log_det_back, -log_det)


def test_a_part_must_be_named(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["reduced_prior", "experiment=hierarchical_1h"])
    with pytest.raises(SystemExit, match=r"say which part the level prior lacks, window or gamma"):
        reduced_prior.main()


@pytest.mark.slow
def test_a_hierarchy_trains_without_a_window(tmp_path):
    overrides = tiny_overrides(write_images(tmp_path / "images.npz", side=28), tmp_path / "run", "hierarchical")
    command = [sys.executable, "-m", "benchmarks.density.reduced_prior", "window", *overrides]
    given = ["model.flow.level_prior=resampled", "trainer.max_steps=2"]
    finished = subprocess.run([*command, *given], cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["bpd"] > 0
