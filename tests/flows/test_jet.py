"""Jet: what its couplings keep, its density, its start, its labels, and what cannot be split."""

import pytest
import torch
from torch.testing import assert_close

from nf_mnist.bijectors import AffineCoupling, Logit
from nf_mnist.errors import ConfigError, ShapeError
from nf_mnist.flows import preprocessing
from tests.support.helpers import integral_over_two_pixels
from tests.support.registry import GREY, events, make_flow, small_jet, unsettle


def masks(**which) -> list[torch.Tensor]:
    return [part.mask for part in small_jet(**which).modules() if isinstance(part, AffineCoupling)]


def test_a_channel_split_keeps_half_of_the_values_of_every_patch():
    first, second = masks(n_couplings=2, splits=["channel"])
    for mask in (first, second):
        assert torch.equal(mask, mask[:1].expand(16, 4))
        assert mask[0].sum() == 2
    assert not torch.equal(first, second), "each coupling splits at random"


def test_a_spatial_split_keeps_every_second_patch_and_then_the_others():
    first, second = masks(n_couplings=2, splits=["spatial"])
    assert first[:, 0].reshape(4, 4).tolist() == [[1, 0, 1, 0], [0, 1, 0, 1]] * 2
    assert torch.equal(first, first[:, :1].expand(16, 4))
    assert torch.equal(second, 1 - first)


def test_splits_come_in_turn():
    kinds = ["channel" if mask.std(0).max() == 0 else "spatial" for mask in masks(n_couplings=5)]
    assert kinds == ["channel", "channel", "spatial", "channel", "channel"]


def test_every_value_is_transformed_by_some_coupling():
    assert torch.stack(masks()).min(0).values.max() == 0


def test_the_density_in_two_dimensions_integrates_to_one():
    which = {"event_shape": (1, 1, 2), "patch_size": 1, "n_couplings": 2, "splits": ["spatial"]}
    flow = unsettle(small_jet(**which, preprocess=preprocessing("symmetric", 0.0, True))).double().eval()
    assert integral_over_two_pixels(flow, -6, 7, 401) == pytest.approx(1, rel=1e-4)


def test_before_training_couplings_change_nothing():
    flow, x = small_jet().double(), events(GREY)
    logits, log_det = Logit(1e-5)(x)
    z, log_prob = flow(x)
    assert_close(z.sort(1).values, logits.flatten(1).sort(1).values)
    assert_close(log_prob, flow.base.log_prob(logits.flatten(1)) + log_det)


def test_every_kept_patch_changes_what_is_predicted_for_every_transformed_one():
    flow = make_flow("jet")
    coupling = next(part for part in flow.modules() if isinstance(part, AffineCoupling) and part.mask[0].std() == 0)
    patches = torch.randn(1, 16, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    transformed = coupling.mask[:, 0] == 0
    log_scale, shift = coupling._parameters_given(patches, None)
    for i in range(16):
        changed = patches.clone()
        changed[:, i] += 1
        other_scale, other_shift = coupling._parameters_given(changed, None)
        moved = (other_shift - shift).abs().amax((0, 2)) + (other_scale - log_scale).abs().amax((0, 2))
        assert bool((moved[transformed] > 0).all()) == (not transformed[i])


def test_labels_change_the_density_and_keep_it_invertible():
    flow = unsettle(small_jet(n_classes=3)).double().eval()
    x, label = events(GREY), torch.tensor([0, 1, 2, 0, 1])
    z, log_prob = flow(x, label)
    assert_close(flow.decode(z, label), x, atol=1e-9, rtol=0)
    assert ((flow.log_prob(x, (label + 1) % 3) - log_prob).abs() > 1e-6).all()


@pytest.mark.parametrize(
    ("which", "error", "message"),
    [
        ({"patch_size": 3}, ShapeError, "patch_size=3 does not divide the sides of images of 8x8"),
        ({"patch_size": 0}, ConfigError, "patch_size must be at least 1"),
        ({"patch_size": 1}, ConfigError, "no channels to split; use a larger patch_size or splits="),
        ({"patch_size": 8}, ConfigError, "one patch cannot be split; use a smaller patch_size or splits="),
        ({"n_couplings": 0}, ConfigError, "n_couplings must be at least 1"),
        ({"splits": []}, ConfigError, r"splits must be a list of channel and spatial, got \[\]"),
        ({"splits": ["rows"]}, ConfigError, r"splits must be a list of channel and spatial, got \['rows'\]"),
        ({"transformer_heads": 3}, ConfigError, "must be a multiple of transformer_heads=3"),
        ({"scale_activation": "relu"}, ConfigError, "unknown scale_activation 'relu'"),
        ({"n_classes": -1}, ConfigError, "n_classes must be at least 0"),
    ],
    ids=str,
)
def test_what_cannot_be_built_is_refused(which, error, message):
    with pytest.raises(error, match=message):
        small_jet(**which)
