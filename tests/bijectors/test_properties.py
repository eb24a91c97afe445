"""Properties that bijectors state of themselves; bijectors made of others answer for all of them."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from nf_mnist.bijectors import (
    Bijector,
    FactorOut,
    Flatten,
    Logit,
    MarginalGaussianization,
    Permutation,
    PixelGrid,
    Sequential,
    Squeeze,
)
from nf_mnist.errors import ConfigError
from nf_mnist.flows.geometry import CHANNEL_ORDER
from tests.support.registry import BIJECTORS, FLOWS, events, make_bijector, make_flow

JUMPING = ["gaussianization", "discretized_mixture_1", "discretized_mixture_3", "grouped_mixture"]
JUMPING_FLOWS = {"resflow_gaussianize", "hierarchical", "conditional"}


class Wrapped(Bijector):
    """A user's container, which holds a bijector inside a plain module."""

    def __init__(self, inner: Bijector) -> None:
        super().__init__()
        self.holder = nn.ModuleDict({"inner": inner})

    def forward_and_log_det(self, x, context=None):
        return self.holder["inner"](x, context)

    def inverse_and_log_det(self, z, context=None):
        return self.holder["inner"].inverse_and_log_det(z, context)


class Inverse(Bijector):
    """The inverse of a bijector."""

    def __init__(self, inner: Bijector) -> None:
        super().__init__()
        self.inner = inner

    def forward_and_log_det(self, x, context=None):
        return self.inner.inverse_and_log_det(x, context)

    def inverse_and_log_det(self, z, context=None):
        return self.inner(z, context)


def around(inner: Bijector) -> list[Bijector]:
    """Return each kind of container around a bijector on events of (2, 4, 4)."""
    rest = FactorOut((4, 4, 4), 2, Sequential([inner, Flatten((2, 4, 4))]))
    return [Sequential([Squeeze((2, 8, 8)), inner]), rest, Wrapped(Sequential([inner]))]


@pytest.mark.parametrize("name", BIJECTORS)
def test_continuous_bijectors_do_not_jump_between_levels(name):
    bijector, edges = make_bijector(name), (events(BIJECTORS[name][1]) * 256).round() / 256
    with torch.no_grad():
        jump = (bijector(edges + 1e-9)[1] - bijector(edges - 1e-9)[1]).abs().max()
    assert bijector.is_continuous == (jump < 1e-3)


@pytest.mark.parametrize("name", JUMPING)
def test_maps_of_grey_levels_are_not_continuous(name):
    assert not make_bijector(name).is_continuous


@pytest.mark.parametrize("name", FLOWS)
def test_a_flow_is_continuous_if_all_its_parts_are(name):
    assert make_flow(name).bijector.is_continuous == (name not in JUMPING_FLOWS)


def test_containers_answer_for_what_is_inside():
    for container in around(MarginalGaussianization((2, 4, 4))):
        assert not container.is_continuous
        assert container.counts_log_det
    for container in around(Logit(count_log_det=False)):
        assert container.is_continuous
        assert not container.counts_log_det
    for container in around(Logit()):
        assert container.counts_log_det
        assert not container.is_autoregressive


def test_fitting_reaches_what_is_inside():
    levels = torch.zeros(3, 2, 4, 4, dtype=torch.uint8)
    for number in range(3):
        inner = MarginalGaussianization((2, 4, 4))
        around(inner)[number].fit(levels)
        assert inner.probabilities[:, 0].min() > 0.99


def test_an_exact_bijector_counts_every_log_det_and_keeps_activations():
    for number in range(3):
        inner = Logit(count_log_det=False)
        container = around(inner)[number]
        container.recompute = inner.recompute = True
        container.make_exact()
        assert container.counts_log_det
        assert not container.recompute
        assert not inner.recompute


def test_the_uncounted_log_det_is_that_of_the_logits_at_any_position():
    def chain(counted: bool) -> Sequential:
        rest = FactorOut((4, 4, 4), 2, Sequential([Logit(0.1, counted), Flatten((2, 4, 4))]))
        return Sequential([Logit(0.01, counted), Inverse(Logit()), rest])

    x = events((4, 4, 4))
    silent = chain(counted=False)
    assert_close(silent(x)[1] + silent.uncounted_log_det(x), chain(counted=True)(x)[1])
    assert_close(chain(counted=True).uncounted_log_det(x), torch.zeros(len(x), dtype=x.dtype))
    with pytest.raises(NotImplementedError, match="Wrapped does not define"):
        Wrapped(Logit(count_log_det=False)).uncounted_log_det(x)


def test_a_grid_gives_the_positions_of_pixels_after_each_squeeze():
    rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    positions, grid = torch.stack([rows, columns])[:, None], PixelGrid.whole()
    layers = [Squeeze((1, 8, 8)), Permutation(torch.tensor(CHANNEL_ORDER)), Squeeze((4, 4, 4))]
    for layer in layers:
        positions, grid = layer(positions)[0], layer.teacher_force(grid)
        _, channels, height, width = positions.shape
        for channel in range(channels):
            row, column = grid.corners[channel]
            expected = [row + grid.stride * torch.arange(height), column + grid.stride * torch.arange(width)]
            assert torch.equal(positions[0, channel, :, 0], expected[0].float())
            assert torch.equal(positions[1, channel, 0], expected[1].float())
            assert grid.offset(channel) == row * grid.stride + column
    assert grid.stride == 4


def test_only_autoregressive_flows_can_be_teacher_forced():
    assert make_flow("hierarchical").bijector.is_autoregressive
    assert not make_flow("resflow").bijector.is_autoregressive
    with pytest.raises(ConfigError, match="pixels have no order"):
        make_flow("resflow").bijector.teacher_force(PixelGrid.whole())
