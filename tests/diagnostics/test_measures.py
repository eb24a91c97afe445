"""What checks measure has the values that mathematics gives."""

import math

import pytest
import torch
from torch import nn

from nf_mnist.bijectors import (
    ActNorm,
    AffineCoupling,
    BatchNorm,
    Bijector,
    ContinuousMap,
    Flatten,
    Logit,
    OdeSolver,
    Sequential,
    make_mask,
)
from nf_mnist.bijectors.quantile_map import SMALLEST_FRACTION
from nf_mnist.data import Images, UniformDequantizer, evaluation_noise
from nf_mnist.diagnostics import (
    Batch,
    DiagnosisTask,
    diagnose,
    fullest_sixteenth,
    generalisation_gap,
    magnification,
    make_batch,
    most_frequent_share,
    norm_statistics,
    reached_layers,
    undithered_gain,
)
from nf_mnist.diagnostics.access.layers import WithContext
from nf_mnist.diagnostics.checks.log_det import log_det_is_that_of_the_jacobian
from nf_mnist.diagnostics.measures.jacobian import differences, stretch
from nf_mnist.flows import ConditionalFlow, Flow
from nf_mnist.metrics import round_trip
from tests.support.registry import make_flow
from tests.support.velocities import LinearVelocity


def test_undithered_images_have_a_most_frequent_value_and_dithered_ones_do_not():
    levels = torch.zeros(50, 1, 8, 8, dtype=torch.uint8)
    levels[:, :, :2] = 200
    assert most_frequent_share(levels / 255) == pytest.approx(6 / 8, abs=1e-3)
    dithered, _ = UniformDequantizer()(levels, evaluation_noise(torch.arange(50), (1, 8, 8), 0, 0))
    assert most_frequent_share(dithered) < 0.002


def test_dither_of_a_whole_level_fills_it_and_narrower_dither_does_not():
    levels, noise = torch.randint(256, (50, 1, 8, 8)), torch.rand(50, 1, 8, 8)
    assert fullest_sixteenth((levels + noise) / 256) == pytest.approx(1 / 16, abs=0.02)
    assert fullest_sixteenth((levels + noise / 4) / 256) == pytest.approx(1 / 4, abs=0.03)
    assert fullest_sixteenth((levels + noise / 256) / 256) == 1


class Stretched(Bijector):
    """``z = factor (x - 1/512)``: with a normal base, a Gaussian in the middle of the box of level 0."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward_and_log_det(self, x, context=None):
        return (self.factor * (x - 1 / 512)).flatten(1), x.new_full((len(x),), x[0].numel() * math.log(self.factor))

    def inverse_and_log_det(self, z, context=None):
        return (z / self.factor + 1 / 512).reshape(-1, 1, 8, 8), -z.new_full((len(z),), 64 * math.log(self.factor))


@pytest.mark.parametrize(("factor", "gain"), [(256 * math.sqrt(12), 0.5), (2560.0, 100 / 24)])
def test_the_middle_of_a_box_gains_half_the_mean_square_of_z(factor, gain):
    # E[z^2] / 2 = factor^2 (1/256)^2 / 24 for x uniform in the box; 1/2 for the Gaussian of the box's own deviation.
    levels = torch.zeros(500, 1, 8, 8, dtype=torch.uint8)
    x = torch.rand(500, 1, 8, 8) / 256
    assert undithered_gain(Flow(Stretched(factor), (1, 8, 8)), levels, x) == pytest.approx(gain, rel=0.02)


def test_the_gap_is_that_of_means_and_its_median_shows_outliers():
    train, validation = torch.full((100,), -64.0), torch.full((100,), -64.0)
    validation[0] = -64 - 6400 * math.log(2)
    gap = generalisation_gap(train, validation, 64)
    assert gap.mean == pytest.approx(1)
    assert gap.median == pytest.approx(0)


def test_statistics_of_a_batch_are_compared_in_running_deviations(float64):
    norm = BatchNorm((1, 8, 8)).eval()
    norm.running_mean.fill_(1.0)
    norm.running_var.fill_(4.0)
    flow = Flow(Sequential([norm, Flatten((1, 8, 8))]), (1, 8, 8))
    x = 3 + torch.randn(4000, 1, 8, 8)
    (statistics,) = norm_statistics(flow, x)
    assert statistics.name == "bijector.bijectors.0"
    assert statistics.shift == pytest.approx(1, abs=0.01)  # (3 - 1) / 2
    assert statistics.ratio == pytest.approx(math.log(2), abs=0.01)


def test_the_largest_magnification_is_that_of_the_smallest_variance():
    norms = [BatchNorm((12,)), ActNorm((12,)), Flatten((12,))]
    norms[0].running_var[3] = 1e-4 - 1e-5
    norms[0].running_var[4] = 0.01
    with torch.no_grad():
        norms[1].log_scale.fill_(math.log(20))
    flow = nn.Sequential(*norms, nn.BatchNorm1d(12))
    flow[-1].running_var.zero_()  # inside networks a dead channel does no harm
    largest = magnification(flow)
    assert (largest.name, largest.n_near_floor) == ("0", 1)
    assert largest.factor == pytest.approx(100)
    assert magnification(nn.Linear(1, 1)) is None


def test_scale_functions_are_probed_for_their_bound():
    def coupling(scale_activation: str) -> AffineCoupling:
        return AffineCoupling(make_mask("halves", (4,)), nn.Linear(4, 4), nn.Linear(4, 4), scale_activation)

    assert Flatten((4,)).largest_log_scale(100) is None
    assert coupling("tanh").largest_log_scale(100) == pytest.approx(1)
    assert coupling("double_tanh").largest_log_scale(100) == pytest.approx(math.tanh(1))
    assert Sequential([coupling("tanh"), Flatten((4,)), coupling("none")]).largest_log_scale(100) == pytest.approx(100)


@pytest.mark.parametrize("precision", ["float32", "float64", "bf16"])
def test_an_inverse_that_is_off_changes_pixels_in_every_precision(precision):
    class Leaky(Stretched):
        def inverse_and_log_det(self, z, context=None):
            x, log_det = super().inverse_and_log_det(z)
            x[:, :, :2] += 2 / 256
            return x, log_det

    x = torch.rand(3, 1, 8, 8)
    assert round_trip(Flow(Stretched(2.0), (1, 8, 8)), x, precision=precision).changed == 0
    trip = round_trip(Flow(Leaky(2.0), (1, 8, 8)), x, precision=precision)
    assert trip.changed == pytest.approx(1 / 4)
    assert trip.largest == pytest.approx(2, rel=1e-3)


def test_layers_are_reached_parts_first_and_with_their_own_values():
    flow = make_flow("resflow")
    x = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    layers = reached_layers(flow.bijector, x)
    names = [reached.name for reached in layers]
    assert names[0] == "bijectors.0"
    assert torch.equal(layers[0].x, x)
    assert all(names.index(name) > names.index(f"{name}.rest") for name in names if f"{name}.rest" in names)


def test_a_flow_of_whole_images_is_told_that_nothing_is_observed():
    flow = make_flow("conditional", torch.float32)
    assert isinstance(flow, ConditionalFlow)
    images = Images(torch.randint(256, (9, 1, 8, 8), dtype=torch.uint8), torch.zeros(9, dtype=torch.long))
    batch = make_batch(flow, UniformDequantizer(), images, 5, seed=0)
    assert (batch.context.shape, batch.context.abs().sum()) == ((5, 2, 8, 8), 0)
    torch.testing.assert_close(flow.log_prob(batch.x), flow.log_prob(batch.x, batch.context))


def test_the_edge_of_a_level_is_no_mistake_of_a_map_that_jumps_there():
    """The smallest dither lies on the edge of a level, where the map between levels has no derivative."""
    flow = make_flow("resflow_gaussianize", torch.float32).eval()
    levels = torch.randint(0, 256, (20, *flow.event_shape), generator=torch.Generator().manual_seed(0))
    x = (levels + SMALLEST_FRACTION) / 256
    task = DiagnosisTask(flow, Batch(x, torch.zeros(20), levels.to(torch.uint8), None))
    (result,) = diagnose(task, [log_det_is_that_of_the_jacobian])
    assert result.status == "pass", result.measured


def test_differences_follow_a_logit_at_dark_pixels():
    """The slope of a logit at x is 1 / (x (1 - x)), which bends within a fraction of x."""
    x = torch.tensor([1e-6, 1e-4, 1e-2, 0.5, 1 - 1e-4], dtype=torch.float64).reshape(1, 1, 1, 5)
    jacobian = differences(WithContext(Logit(0.0)), x)
    wanted = -(x * (1 - x)).log().sum()
    assert torch.linalg.slogdet(jacobian).logabsdet.item() == pytest.approx(wanted.item(), abs=1e-4)
    assert torch.equal(jacobian, jacobian.diagonal().diag())


@pytest.mark.parametrize("solver", [OdeSolver(1e-7), OdeSolver(n_steps=8)])
def test_the_stretch_of_a_linear_field_is_that_of_the_exponential_of_its_matrix(solver):
    matrix = torch.tensor([[0.5, 1.0], [-2.0, 0.3]], dtype=torch.float64)
    found = stretch(ContinuousMap(LinearVelocity(matrix), solver), torch.ones(1, 2, dtype=torch.float64))
    largest, smallest = torch.linalg.svdvals(torch.linalg.matrix_exp(matrix)).tolist()
    assert found.forward == pytest.approx(largest, rel=1e-4)
    assert found.inverse == pytest.approx(1 / smallest, rel=1e-4)
