"""Metrics of flows for which mathematics gives their values."""

import math
import statistics

import pytest
import torch
from torch.testing import assert_close

from nf_mnist.bijectors import Bijector, Flatten, Logit, OdeSolver, Sequential
from nf_mnist.data import DEQUANTIZERS, Images, UniformDequantizer
from nf_mnist.errors import ConfigError
from nf_mnist.flows import ContinuousFlow, Flow
from nf_mnist.metrics import (
    chi_moments,
    evaluate_flow,
    likelihood_unit,
    moments,
    offenders,
    projection_distance,
    radius,
    random_projection,
    round_trip_error,
    silent_layers,
)
from tests.support.registry import make_flow
from tests.support.velocities import SmallVelocity

SETTINGS = {"n_images": None, "n_draws": 2, "batch_size": 7, "seed": 0}


def images(n: int = 20) -> Images:
    return Images(torch.randint(256, (n, 1, 8, 8), dtype=torch.uint8), torch.zeros(n, dtype=torch.long))


class UniformCDF(Bijector):
    """The normal quantile of a uniform x: with a standard normal base, the uniform density."""

    def forward_and_log_det(self, x, context=None):
        z = torch.special.ndtri(x.double())
        return z, -torch.distributions.Normal(0, 1).log_prob(z).flatten(1).sum(1)

    def inverse_and_log_det(self, z, context=None):
        return torch.special.ndtr(z.double()), torch.distributions.Normal(0, 1).log_prob(z).flatten(1).sum(1)


class Leaky(UniformCDF):
    """The same with an inverse that is off by a hundredth."""

    def inverse_and_log_det(self, z, context=None):
        x, log_det = super().inverse_and_log_det(z, context)
        return x + 0.01, log_det


def test_the_uniform_flow_scores_eight_bits_and_a_perfect_shell():
    flow = Flow(Sequential([UniformCDF(), Flatten((1, 8, 8))]), (1, 8, 8)).eval()
    metrics, _, z = evaluate_flow(flow, UniformDequantizer(), images(500), **SETTINGS)
    assert metrics["bpd"] == pytest.approx(8.0)
    assert metrics["bpd_log_mean_exp"] == pytest.approx(8.0)
    assert metrics["log_density"] == pytest.approx(0, abs=1e-9)
    assert metrics["log_likelihood"] == pytest.approx(-64 * math.log(256))
    mean, std = chi_moments(64)
    assert abs(metrics["radius_mean"] - mean) < 4 * std / math.sqrt(500)
    assert metrics["round_trip_error"] < 1e-9
    assert z.shape == (500, 64)


def test_metrics_do_not_depend_on_the_batch_size():
    flow, levels = make_flow("resflow"), images()
    one, other = (
        evaluate_flow(flow, UniformDequantizer(), levels, **{**SETTINGS, "batch_size": size}).metrics
        for size in (3, 20)
    )
    assert one == pytest.approx(other, rel=1e-9, abs=1e-9)


def test_metrics_are_means_over_images_and_draws():
    flow, levels = make_flow("resflow"), images()
    metrics, *_ = evaluate_flow(flow, UniformDequantizer(), levels, **SETTINGS)
    assert metrics["bpd"] == pytest.approx(-metrics["log_likelihood"] / (64 * math.log(2)))
    assert metrics["log_density"] == pytest.approx(metrics["log_likelihood"] + 64 * math.log(256))
    assert metrics["bpd_log_mean_exp"] < metrics["bpd"], "the logarithm is concave"
    single, *_ = evaluate_flow(flow, UniformDequantizer(), levels, **{**SETTINGS, "n_draws": 1})
    assert single["bpd_log_mean_exp"] == pytest.approx(single["bpd"])


def test_the_standard_error_is_that_of_the_mean_over_images():
    flow, levels = make_flow("resflow"), images()
    metrics, per_image, _ = evaluate_flow(flow, UniformDequantizer(), levels, **SETTINGS)
    expected = statistics.stdev(per_image["bpd"].tolist()) / math.sqrt(len(levels.levels))
    assert metrics["bpd_standard_error"] == pytest.approx(expected)
    alone, *_ = evaluate_flow(flow, UniformDequantizer(), levels, **{**SETTINGS, "n_images": 1})
    assert math.isnan(alone["bpd_standard_error"])


def test_estimated_log_dets_are_repeated_and_their_solver_is_stated():
    solver = OdeSolver(n_steps=2)
    flow = ContinuousFlow(Sequential([]), SmallVelocity((1, 8, 8)), solver, solver, (1, 8, 8)).eval()
    levels = images()
    metrics, other = (evaluate_flow(flow, UniformDequantizer(), levels, **SETTINGS).metrics for _ in range(2))
    assert metrics["log_density"] == other["log_density"]
    assert metrics["solver_evaluations"] == 8


def test_a_sample_of_the_images_is_measured():
    flow, levels = make_flow("resflow"), images(40)
    metrics, _, z = evaluate_flow(flow, UniformDequantizer(), levels, **{**SETTINGS, "n_images": 5})
    assert (metrics["n_images"], len(z)) == (5, 5)


@pytest.mark.parametrize("kind", ["none", "cp3"])
def test_no_bits_are_reported_where_none_are_defined(kind):
    flow = make_flow("resflow_no_preprocess")
    metrics, *_ = evaluate_flow(flow, DEQUANTIZERS[kind](), images(), **SETTINGS)
    assert not {"bpd", "bpd_log_mean_exp"} & metrics.keys()


@pytest.mark.parametrize("setting", ["n_images", "n_draws", "batch_size"])
def test_evaluation_refuses_counts_below_one(setting):
    with pytest.raises(ConfigError, match="at least 1"):
        evaluate_flow(make_flow("resflow"), UniformDequantizer(), images(), **{**SETTINGS, setting: 0})


def test_round_trip_error_is_the_largest_of_each_image():
    flow = Flow(Sequential([Leaky(), Flatten((1, 8, 8))]), (1, 8, 8))
    error = round_trip_error(flow, 0.1 + 0.8 * torch.rand(3, 1, 8, 8))
    assert_close(error, torch.full((3,), 0.01, dtype=torch.float64), atol=1e-9, rtol=0)


def test_radius_and_moments_of_a_standard_normal():
    z = torch.randn(4000, 784)
    assert abs(radius(z).mean - 27.99) < 4 * 0.707 / math.sqrt(4000) + 0.005
    assert abs(radius(z).std - 0.707) < 4 * 0.707 / math.sqrt(2 * 4000)
    mean, std = moments(z)
    assert mean.abs().max() < 6 / math.sqrt(4000)
    assert (std - 1).abs().max() < 6 / math.sqrt(2 * 4000)
    assert math.isnan(radius(z[:1]).std)


def test_a_projection_keeps_a_standard_normal_one():
    z = torch.randn(4000, 784)
    points = random_projection(z, seed=0)
    assert points.shape == (4000, 2)
    assert_close(torch.cov(points.T), torch.eye(2), atol=0.12, rtol=0)
    assert torch.equal(points, random_projection(z, seed=0))
    assert not torch.equal(points, random_projection(z, seed=1))


def test_the_logits_log_determinant_counts():
    levels = images()
    flow = make_flow("resflow")
    counted = evaluate_flow(flow, UniformDequantizer(), levels, **SETTINGS).metrics
    flow.bijector.layers()[0].count_log_det = False
    silent = evaluate_flow(flow, UniformDequantizer(), levels, **SETTINGS).metrics
    # E[log|det|] of a logit on uniform x is 2 nats per dimension: -E[log x] - E[log(1 - x)].
    assert (counted["log_likelihood"] - silent["log_likelihood"]) / 64 == pytest.approx(2, abs=0.07)
    assert counted["bpd"] == pytest.approx(-counted["log_likelihood"] / (64 * math.log(2)))
    assert not [name for name in silent if "bpd" in name], "a density of logits has no bits"
    assert "without the logit" in likelihood_unit(flow, UniformDequantizer())


def test_offenders_are_the_dimensions_off_in_mean_or_deviation():
    z = torch.randn(4000, 8)
    z[:, 2] += 3
    z[:, 5] *= 0.1
    off = offenders(z)
    assert (off.share, off.worst) == (2 / 8, 2)
    assert off.mean == pytest.approx(3, abs=0.1)


def test_projections_of_a_normal_are_normal_and_of_a_wider_one_are_not():
    z = torch.randn(4000, 20)
    assert projection_distance(z) < 2.5 / math.sqrt(4000)
    # Normals of deviations 1 and s are furthest apart where their densities cross: x^2 = 2 s^2 ln s / (s^2 - 1).
    crossing = torch.tensor(8 * math.log(2) / 3).sqrt()
    expected = torch.special.ndtr(crossing) - torch.special.ndtr(crossing / 2)
    assert projection_distance(2 * z) == pytest.approx(expected.item(), abs=0.03)


def test_silent_logits_are_named():
    flow = Flow(Sequential([Logit(), Logit(count_log_det=False), Flatten((1, 8, 8))]), (1, 8, 8))
    assert silent_layers(flow) == ["bijector.bijectors.1"]
