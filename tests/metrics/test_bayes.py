"""A flow as a classifier: Bayes' rule, and what is measured of probabilities."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from nf_mnist.bijectors import Bijector
from nf_mnist.data import Images, UniformDequantizer, evaluation_noise
from nf_mnist.errors import ConfigError
from nf_mnist.flows import Flow
from nf_mnist.metrics import (
    accuracy,
    expected_calibration_error,
    label_nats,
    log_likelihood_by_class,
    log_likelihood_without_label,
)
from tests.support.registry import make_flow

SHAPE = (1, 2, 2)


class ShiftByLabel(Bijector):
    """Makes the images of a class normal around a mean of its own."""

    def __init__(self, means: Tensor) -> None:
        super().__init__()
        self.means = torch.nn.Parameter(means)

    def forward_and_log_det(self, x, context=None):
        return x.flatten(1) - self.means[context][:, None], x.new_zeros(len(x))

    def inverse_and_log_det(self, z, context=None):
        return (z + self.means[context][:, None]).reshape(len(z), *SHAPE), z.new_zeros(len(z))


def images(n: int) -> tuple[Images, Tensor]:
    levels = torch.randint(0, 256, (n, *SHAPE), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    return Images(levels, torch.zeros(n, dtype=torch.int64)), torch.arange(n)


@pytest.mark.parametrize("batch_size", [3, 7])
def test_likelihoods_of_classes_and_without_a_label_are_those_of_a_mixture(batch_size):
    means = torch.tensor([-2.0, 0.0, 3.0])
    flow, (digits, index) = Flow(ShiftByLabel(means), SHAPE, n_classes=3), images(7)
    found = log_likelihood_by_class(flow, UniformDequantizer(), digits, index, n_draws=2, batch_size=batch_size, seed=0)
    x = (digits.levels.double() + 0.5).flatten(1) / 256
    normal = torch.distributions.Normal(means.double(), 1.0)
    by_class = normal.log_prob(x[:, :, None]).sum(1) - 4 * math.log(256)
    assert_close(found, by_class, atol=0.05, rtol=0)  # noise moves each of four pixels by up to 1/512
    mixture = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(torch.ones(3, dtype=torch.float64)),
        torch.distributions.Independent(torch.distributions.Normal(means.double()[:, None].expand(3, 4), 1.0), 1),
    )
    assert_close(log_likelihood_without_label(found), mixture.log_prob(x) - 4 * math.log(256), atol=0.05, rtol=0)


def test_several_draws_are_averaged_as_probabilities():
    flow, (digits, index) = Flow(ShiftByLabel(torch.tensor([0.0, 400.0])), SHAPE, n_classes=2), images(5)
    dequantizer, draws = UniformDequantizer(), 3
    found = log_likelihood_by_class(flow, dequantizer, digits, index, n_draws=draws, batch_size=5, seed=0)
    x = torch.stack([dequantizer(digits.levels, evaluation_noise(index, SHAPE, draw, 0))[0] for draw in range(draws)])
    for label, mean in enumerate([0.0, 400.0]):
        density = torch.distributions.Normal(mean, 1.0).log_prob(x.double()).flatten(2).sum(2)
        expected = density.logsumexp(0) - math.log(draws) - 4 * math.log(256)
        assert_close(found[:, label], expected, atol=1e-3, rtol=1e-6)


def test_a_flow_without_labels_does_not_classify():
    flow, (digits, index) = make_flow("tarflow"), images(2)
    with pytest.raises(ConfigError, match="no class labels to choose from"):
        log_likelihood_by_class(flow, UniformDequantizer(), digits, index, n_draws=1, batch_size=2, seed=0)


def test_accuracy_and_nats_are_those_of_the_labels():
    probabilities, labels = torch.tensor([[0.9, 0.1], [0.4, 0.6], [0.8, 0.2], [1.0, 0.0]]), torch.tensor([0, 1, 1, 0])
    assert accuracy(probabilities, labels) == 0.75
    expected = -(math.log(0.9) + math.log(0.6) + math.log(0.2)) / 4
    assert label_nats(probabilities, labels) == pytest.approx(expected, rel=1e-6)
    assert math.isfinite(label_nats(torch.tensor([[1.0, 0.0]]), torch.tensor([1])))


def test_the_calibration_error_is_the_gap_between_confidence_and_accuracy():
    labels = torch.tensor([0, 0, 0, 1])
    sure = torch.tensor([[1.0, 0.0]]).expand(4, -1)
    assert expected_calibration_error(sure, labels) == pytest.approx(0.25)
    fair = torch.tensor([[0.75, 0.25]]).expand(4, -1)
    assert expected_calibration_error(fair, labels) == pytest.approx(0.0, abs=1e-7)
    two_bins = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.6, 0.4]])  # right: both, and one of two
    assert expected_calibration_error(two_bins, labels) == pytest.approx((2 * 0.1 + 2 * 0.1) / 4, abs=1e-7)
