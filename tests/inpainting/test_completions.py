"""Metrics and reports of completions: intervals, convergence, stopped ascents, densities of logits, time."""

import time

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from nf_mnist.bijectors import Logit
from nf_mnist.errors import ConfigError
from nf_mnist.flows import Flow
from nf_mnist.inpainting import (
    Completions,
    budgeted_completions,
    make_observed,
    measure,
    posterior,
    scores,
)
from nf_mnist.inpainting.logits import log_prob_of_images
from nf_mnist.inpainting.methods.modes import _ascend
from nf_mnist.metrics import largest_r_hat
from tests.support.registry import events, make_flow, small_glow

HALF = make_observed("lower", (1, 8, 8))


def completions(x: Tensor, **report: float) -> Completions:
    """Return images, shape (n_samples, batch, 1, 8, 8), as the completions of a method."""
    log_prob = torch.zeros(x.shape[:2])
    return Completions(x, log_prob, log_prob[:0], 0, report)


def measured(method, n_images: int = 6):
    settings = {"n_samples": 1, "batch_size": 2, "generator": torch.Generator().manual_seed(0)}
    return measure(method, make_flow("resflow", torch.float32), torch.rand(n_images, 1, 8, 8), HALF, **settings)


@pytest.mark.parametrize("n_samples", [19, 30, 64])
def test_exact_draws_cover_ninety_per_cent_whatever_their_number(n_samples):
    truth, drawn = torch.rand(500, 1, 8, 8), torch.rand(n_samples, 500, 1, 8, 8)
    covered = scores(completions(drawn), truth, HALF)["coverage_90"].mean().item()
    assert covered == pytest.approx(0.9, abs=4 * 0.3 / (500 * 32) ** 0.5)


def test_the_error_of_one_completion_is_that_of_the_mean_and_the_variance():
    truth, drawn = torch.rand(3, 1, 8, 8), torch.rand(5, 3, 1, 8, 8)
    metrics = scores(completions(drawn), truth, HALF)
    variance = drawn.var(0, correction=0).flatten(1).sum(1)
    assert_close(metrics["squared_error"], metrics["squared_error_of_mean"] + variance)
    alone = scores(completions(drawn[:1]), truth, HALF)
    assert_close(alone["squared_error"], (drawn[0] - truth).square().flatten(1).sum(1))


def test_too_few_draws_have_no_coverage():
    metrics = scores(completions(torch.rand(18, 3, 1, 8, 8)), torch.rand(3, 1, 8, 8), HALF)
    assert "coverage_90" not in metrics
    assert "diversity" in metrics


def test_the_largest_r_hat_is_infinite_if_a_chain_does_not_move_and_leaves_constant_pixels_out():
    draws = torch.randn(4, 400, 3, 5, dtype=torch.float64)
    draws[..., 2] = 0.25
    assert largest_r_hat(draws) == pytest.approx(1, abs=0.03)
    apart = draws.clone()
    apart[:, :, 1, 0] += torch.arange(4.0)[:, None]
    assert 1.3 < largest_r_hat(apart) < 10, "one pixel of one image"
    for stuck in (0.5, torch.nan):
        still = draws.clone()
        still[2, :, 1] = stuck
        assert largest_r_hat(still) == torch.inf, "one chain of one image"
    assert largest_r_hat(torch.zeros(1, 8, 1, 5)) == torch.inf, "which all agree, since none moves"


def test_chains_that_reject_every_proposal_have_not_converged():
    settings = {"n_chains": 2, "n_warmup": 0, "thinning": 1, "n_leapfrog": 1, "step": 1e4}
    flow = make_flow("resflow", torch.float32)
    found = posterior(
        flow, torch.rand(1, 1, 8, 8), HALF, n_samples=8, generator=torch.Generator().manual_seed(0), **settings
    )
    assert found.report["acceptance"] == 0
    assert found.report["r_hat"] == torch.inf


def test_a_report_over_batches_has_the_largest_r_hat_the_sum_of_stopped_chains_and_the_mean_acceptance():
    reports = [{"r_hat": r_hat, "stopped": 1.0, "acceptance": r_hat / 10} for r_hat in (1.0, 7.0, 1.0)]

    def method(flow, x, observed, **settings):
        return completions(x[None], **reports.pop())

    report = measured(method).report
    assert (report["r_hat"], report["stopped"]) == (7.0, 3.0)
    assert report["acceptance"] == pytest.approx(0.3)


def test_the_clock_is_read_when_the_work_of_a_gpu_is_done(monkeypatch):
    queue: list[float] = []

    def time_when_done(device: torch.device) -> float:
        time.sleep(sum(queue))
        queue.clear()
        return time.monotonic()

    def method(flow, x, observed, **settings):
        queue.append(0.05)  # as a GPU would: the call returns before its work is done
        return completions(x[None])

    monkeypatch.setattr("nf_mnist.inpainting.scoring.time_when_done", time_when_done)
    assert measured(method).seconds >= 3 * 0.05


@pytest.mark.parametrize("n_steps", [4, 5, 12])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_an_ascent_that_stops_ends_at_its_last_finite_position(n_steps, bad):
    """Both ascend in steps of 0.3. The first meets a value that is not finite beyond 1; the second goes on."""

    def objective(position: Tensor) -> Tensor:
        beyond = torch.tensor([1.0, torch.inf])
        return torch.where(position.flatten(1).amax(1) > beyond, bad, position.flatten(1).sum(1))

    start, observed = torch.zeros(2, 1, 1, 2), torch.tensor([[[True, False]]])
    position, trace, n_stopped = _ascend(
        objective, start, observed, lambda values, maximize: torch.optim.SGD(values, 0.3, maximize=maximize), n_steps,
        (-9.0, 9.0),
    )  # fmt: skip
    assert_close(position[:, 0, 0], torch.tensor([[0.0, 0.9], [0.0, 0.3 * n_steps]]))
    assert n_stopped == 1
    assert trace.shape == (n_steps, 2)


@pytest.mark.parametrize("alpha", [0.0, 1e-5, 0.05])
def test_the_density_of_images_is_the_same_whether_the_flow_counts_its_logit_or_not(alpha):
    flow = make_flow("resflow")
    (logit,) = (part for part in flow.modules() if isinstance(part, Logit))
    logit.alpha = alpha
    counted = log_prob_of_images(flow, events((1, 8, 8)))[1]
    logit.count_log_det = False
    assert_close(log_prob_of_images(flow, events((1, 8, 8)))[1], counted)


def test_a_flow_with_class_labels_is_refused_with_advice_that_can_be_followed():
    flow: Flow = small_glow(n_classes=10).eval()
    with pytest.raises(ConfigError, match=r"class labels, and this one has 10; flow\.given_label\(label\) returns one"):
        budgeted_completions(flow, torch.rand(1, 1, 8, 8), HALF, 1, 2, torch.Generator().manual_seed(0))
    found = budgeted_completions(
        flow.given_label(3), torch.rand(1, 1, 8, 8), HALF, 1, 2, torch.Generator().manual_seed(0)
    )
    assert found.x.isfinite().all()
