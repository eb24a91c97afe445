"""Sample quality: known answers, and failures planted in real images."""

import math

import pytest
import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from nf_mnist.app.trained import load_classifier
from nf_mnist.bijectors import ActNorm, Bijector, Flatten, Sequential
from nf_mnist.data import ImageSet, mnist, split
from nf_mnist.errors import ConfigError, ShapeError
from nf_mnist.flows import Flow
from nf_mnist.metrics import (
    Quality,
    ReferenceImages,
    alarms,
    check_temperatures,
    class_kl,
    confident_share,
    draw_levels,
    frechet_distance,
    gaussian_frechet_distance,
    nearest_distance,
    precision_recall,
)
from nf_mnist.nets import Classifier
from nf_mnist.plots import temperature_figure

N = 1000


@pytest.fixture(scope="module")
def digits() -> ImageSet:
    """Return training images, and validation images to test on instead of the official test images."""
    held_out, train = split(mnist().train, 10_000, 0)
    return ImageSet(train, held_out)


@pytest.fixture(scope="module")
def reference(digits) -> ReferenceImages:
    return ReferenceImages(load_classifier(), digits.test.levels[:N], digits.train.levels[: 5 * N])


@pytest.fixture(scope="module")
def floor(reference) -> Quality:
    return reference.floor(N, seed=0)


@pytest.mark.parametrize("smallest", [0.1, 0.0])
def test_the_frechet_distance_of_commuting_gaussians_is_that_of_means_and_deviations(smallest):
    # The dimension that may have no variance is not turned: rounding would leave it 1e-16, whose root is 1e-8.
    turned, _ = torch.linalg.qr(torch.randn(5, 5, dtype=torch.float64))
    basis = torch.block_diag(torch.ones(1, 1, dtype=torch.float64), turned)
    means, deviations = torch.randn(2, 6, dtype=torch.float64), 0.1 + torch.rand(2, 6, dtype=torch.float64)
    deviations[0, 0] = smallest
    one, other = (basis @ deviation.square().diag() @ basis.T for deviation in deviations)
    expected = (means[0] - means[1]).square().sum() + (deviations[0] - deviations[1]).square().sum()
    found = gaussian_frechet_distance(means[0], one, means[1], other)
    assert found == pytest.approx(expected.item(), rel=1e-12)


def test_the_frechet_distance_of_gaussians_in_the_plane_is_the_closed_form():
    # tr (AB)^(1/2) of 2x2 matrices is sqrt(tr AB + 2 sqrt(det AB)): the eigenvalues of AB are known by sum and product.
    roots = torch.randn(2, 2, 2, dtype=torch.float64)
    one, other = (root @ root.T for root in roots)
    product = one @ other
    trace_of_root = (product.trace() + 2 * product.det().sqrt()).sqrt()
    expected = (one.trace() + other.trace() - 2 * trace_of_root).item()
    zero = torch.zeros(2, dtype=torch.float64)
    assert gaussian_frechet_distance(zero, one, zero, other) == pytest.approx(expected, rel=1e-10)


def test_the_frechet_distance_of_features_has_their_moments():
    features = torch.randn(50, 4)
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-12)
    assert frechet_distance(features, features + 2) == pytest.approx(4 * 2**2, rel=1e-5)
    centred = features - features.mean(0)
    expected = features.double().var(0).sum().item()  # tr (C + 9 C - 2 * 3 C) = 4 tr C
    assert frechet_distance(centred, 3 * centred) == pytest.approx(4 * expected, rel=1e-5)
    with pytest.raises(ShapeError, match="two or more members, got sets of 1 and 50"):
        frechet_distance(features[:1], features)


def test_precision_and_recall_are_one_of_equal_sets_and_zero_of_far_ones():
    points = torch.randn(300, 5)
    assert precision_recall(points, points) == (1.0, 1.0)
    assert precision_recall(points, points + 1000) == (0.0, 0.0)


def test_precision_and_recall_of_points_on_a_line_are_counted_by_hand():
    data = torch.tensor([[0.0], [1.0], [2.0], [10.0]])  # the nearest neighbours are 1, 1, 1 and 8 away
    samples = torch.tensor([[3.0], [3.5], [-2.0]])  # theirs 0.5, 0.5 and 5 away
    # 3 is 1 from 2 and 7 from 10: among data. 3.5 is 6.5 from 10: among. -2 is 2 from 0: not.
    # 0, 1 and 2 are at most 4 from -2; 10 is 12 from -2 and 6.5 from 3.5.
    assert precision_recall(data, samples, k=1) == pytest.approx((2 / 3, 3 / 4))
    with pytest.raises(ShapeError, match="more than 3 members, got 4 and 3"):
        precision_recall(data, samples, k=3)


def test_the_nearest_distance_is_that_of_all_pairs_and_exactly_zero_of_a_copy():
    x, others = 255 * torch.rand(300, 40), 255 * torch.rand(500, 40)
    others[7] = x[280]
    found = nearest_distance(x, others)
    torch.testing.assert_close(found, (x[:, None] - others).norm(dim=2).amin(1))
    assert found[280] == 0


def test_the_divergence_of_histograms_is_zero_where_they_agree_and_ln_10_of_one_digit():
    counts = [100, 90, 80, 120, 0, 100, 70, 90, 110, 140]
    assert class_kl(counts, counts) == 0
    assert class_kl([10**9, *[0] * 9], [10**8] * 10) == pytest.approx(math.log(10), abs=1e-6)
    assert math.isfinite(class_kl([50, 50], [100, 0]))


def test_the_confident_share_counts_images_above_95_per_cent():
    sure = torch.full((10,), 0.04 / 9)
    sure[3] = 0.96
    unsure = torch.full((10,), 0.06 / 9)
    unsure[3] = 0.94
    assert confident_share(torch.stack([sure, unsure, unsure, unsure])) == 0.25


def test_features_are_those_from_which_the_probabilities_come():
    classifier = Classifier(4).eval()
    levels = torch.randint(256, (230, 1, 28, 28), dtype=torch.uint8)
    features, probabilities = classifier.features_and_probabilities(levels)
    assert features.shape == (230, 128)
    torch.testing.assert_close(classifier.last(features).softmax(1), probabilities)
    torch.testing.assert_close(classifier(levels.float() / 255).softmax(1), probabilities)


def test_held_out_images_raise_no_alarm(reference, floor, digits):
    found = reference.measure(digits.test.levels[N : 2 * N])
    assert alarms(found, floor) == []
    assert found.memorized_share == pytest.approx(0.01, abs=0.015)
    assert found.nearest_distance == pytest.approx(floor.nearest_distance, rel=0.05)


def test_a_collapse_to_one_digit_is_caught_by_recall_and_histogram(reference, floor, digits):
    sevens = digits.test.levels[digits.test.labels == 7][:N]
    found = reference.measure(sevens)
    assert found.recall < 0.3 * floor.recall
    assert found.class_kl > 0.9 * math.log(10)
    assert found.precision > 0.9 * floor.precision, "each seven is a good one"
    raised = alarms(found, floor)
    assert any("low recall" in said for said in raised)
    assert any("not as frequent" in said for said in raised)


def test_blur_is_caught_by_precision_confidence_and_frechet_distance(reference, floor, digits):
    found = reference.measure(gaussian_blur(digits.test.levels[N : 2 * N], [7, 7], [1.5, 1.5]))
    assert found.precision < 0.6 * floor.precision
    assert found.confident_share < floor.confident_share - 0.05
    assert found.frechet_distance > 10 * floor.frechet_distance
    raised = alarms(found, floor)
    assert any("low precision" in said for said in raised)
    assert any("large Frechet distance" in said for said in raised)
    assert any("no clear digit" in said for said in raised)


@pytest.mark.parametrize("noise", [0, 8])
def test_repeated_training_images_are_caught_by_their_distance_alone(noise, reference, floor, digits):
    copies = digits.train.levels[N : 2 * N].float()
    found = reference.measure((copies + noise * torch.randn(copies.shape)).clamp(0, 255).to(torch.uint8))
    assert found.memorized_share > 0.99
    assert alarms(found, floor) == ["training images are repeated"]


def test_the_floor_is_measured_on_training_images_and_copies_nothing(floor):
    assert sum(floor.class_histogram) == N
    assert floor.confident_share > 0.97
    assert 0.8 < floor.precision < 1
    assert floor.memorized_share == pytest.approx(0.01, abs=0.001)


@pytest.mark.parametrize("temperatures", [[], [0.9, 1.0], [1.0, -0.5], [1.0, "warm"], [1.0, math.inf], 0.8, 1.0, None])
def test_a_temperature_scan_begins_with_the_flows_own_temperature(temperatures):
    with pytest.raises(ConfigError, match=r"temperatures must be 1\.0, the flow's own"):
        check_temperatures(temperatures)


def test_the_figure_shows_metrics_in_the_order_of_temperatures():
    figure = temperature_figure(
        [1.0, 0.7, 0.8], {"recall": [0.9, 0.6, 0.7]}, {"recall": 0.95}, torch.rand(3, 4, 1, 8, 8)
    )
    samples, recall = figure.axes
    assert samples.images[0].get_array().shape == (3 * 10 + 2, 4 * 10 + 2, 3)
    curve, dashed = recall.lines
    assert curve.get_xydata().tolist() == [[0.7, 0.6], [0.8, 0.7], [1.0, 0.9]]
    assert set(dashed.get_ydata()) == {0.95}
    assert recall.get_ylim()[1] > 0.95


def flow_of_constants(values: Tensor) -> Flow:
    """Return a flow with labels; every pixel of an image has the value of its label."""

    class Constant(Bijector):
        def forward_and_log_det(self, x, context=None):
            raise NotImplementedError

        def inverse_and_log_det(self, z, context=None):
            return values[context].reshape(-1, 1, 1, 1).expand(len(z), 1, 2, 2), z.new_zeros(len(z))

    flow = Flow(Constant(), (1, 2, 2), n_classes=len(values))
    flow.register_parameter("weight", torch.nn.Parameter(torch.zeros(1)))
    return flow


def test_draws_of_a_flow_with_labels_have_the_label_or_cycle_through_labels_whatever_the_batch_size():
    flow = flow_of_constants(torch.arange(10) / 10)
    levels = draw_levels(flow, 7, batch_size=3, seed=0, label=5).levels
    assert levels.shape == (7, 1, 2, 2)
    assert levels.unique().tolist() == [128]
    for batch_size in (3, 4, 20):
        drawn = draw_levels(flow, 11, batch_size=batch_size, seed=0).levels[:, 0, 0, 0]
        assert drawn.tolist() == [0, 25, 51, 76, 102, 128, 153, 179, 204, 230, 0]


def test_draws_are_the_same_whatever_the_batch_size():
    shape = (1, 3, 5)  # generators fill sixteen numbers at a time
    flow = Flow(Sequential([ActNorm(shape), Flatten(shape)]), shape)
    expected = draw_levels(flow, 7, batch_size=7, seed=0).levels
    assert torch.equal(draw_levels(flow, 7, batch_size=2, seed=0).levels, expected)


def test_samples_with_nan_pixels_are_counted():
    flow = flow_of_constants(torch.tensor([0.5, math.nan, math.inf]))
    with pytest.warns(UserWarning, match="2 of 7 samples have NaN pixels"):
        levels, n_nan = draw_levels(flow, 7, batch_size=3, seed=0)
    assert n_nan == 2
    assert levels[:3, 0, 0, 0].tolist() == [128, 0, 255]
