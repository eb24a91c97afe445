"""TarFlow: patches, order, density, samples, labels, denoising and guidance."""

import pytest
import torch
from torch.testing import assert_close

from nf_mnist.bijectors import Patches
from nf_mnist.errors import ConfigError, ShapeError
from nf_mnist.flows import Flow, preprocessing, tarflow
from nf_mnist.nets import NO_LABEL
from tests.support.helpers import integral_over_two_pixels
from tests.support.registry import events, make_flow, small_hierarchical, small_resflow, small_tarflow, unsettle


def labelled(label_dropout: float = 0.1) -> Flow:
    return unsettle(small_tarflow(n_classes=3, label_dropout=label_dropout)).double().eval()


def test_patches_are_squares_in_reading_order():
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    cut, _ = Patches((1, 4, 4), 2)(x)
    assert cut[0].tolist() == [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]


def test_patches_that_do_not_tile_the_image_are_refused():
    with pytest.raises(ShapeError, match="patch_size=3 does not divide the sides of images of 8x8"):
        Patches((1, 8, 8), 3)


def test_the_density_in_two_dimensions_integrates_to_one():
    sizes = {"patch_size": 1, "n_autoregressions": 2, "transformer_features": 8, "transformer_blocks": 1}
    settings = {"transformer_heads": 2, "n_classes": 0, "label_dropout": 0.0}
    preprocess = preprocessing("symmetric", 0.0, True)
    flow = unsettle(tarflow(event_shape=(1, 1, 2), preprocess=preprocess, **sizes, **settings)).double().eval()
    assert integral_over_two_pixels(flow, -6, 7, 401) == pytest.approx(1, rel=1e-4)


def test_samples_with_the_cache_are_those_without():
    """Without a cache, patch i of the inverse needs a whole pass of the network over the patches before it."""
    flow = make_flow("tarflow", torch.float32)
    z = flow.base.sample(4, torch.Generator().manual_seed(0))
    *_, flatten = layers = flow.bijector.layers()
    x, _ = flatten.inverse_and_log_det(z)
    for layer in reversed(layers[2:-1]):
        z, x = layer._ordered(x), torch.zeros_like(x)
        x[:, 0] = z[:, 0]
        for i in range(1, x.shape[1]):
            mu, alpha = layer.net(x).chunk(2, -1)
            x[:, i] = z[:, i] * alpha[:, i - 1].exp() + mu[:, i - 1]
        x = layer._ordered(x)
    for layer in layers[1::-1]:
        x, _ = layer.inverse_and_log_det(x)
    with torch.no_grad():
        assert_close(flow.sample(4, generator=torch.Generator().manual_seed(0)), x, atol=1e-5, rtol=0)


def test_every_patch_is_transformed_by_some_autoregression():
    flow, x = make_flow("tarflow"), events((1, 8, 8))
    with torch.no_grad():
        unchanged = flow.bijector.layers()[1](2 * x - 1)[0].flatten(1)
        assert (flow.encode(x) - unchanged).abs().amax(0).min() > 1e-6


def test_labels_condition_everything_and_some_are_hidden_in_training():
    flow, x = labelled(label_dropout=0.5), events((1, 8, 8))
    zeros = torch.zeros(5, dtype=torch.int64)
    assert not torch.allclose(flow.log_prob(x, zeros), flow.log_prob(x, zeros + 1))
    torch.manual_seed(0)
    labels = flow.training_context(x, torch.arange(3).repeat(400))
    assert (labels == NO_LABEL).double().mean().item() == pytest.approx(0.5, abs=0.06)
    assert_close(labels[labels != NO_LABEL], torch.arange(3).repeat(400)[labels != NO_LABEL])
    assert torch.equal(flow.validation_context(x, zeros), zeros)
    assert small_tarflow().training_context(x, zeros) is None


@pytest.mark.parametrize("label_dropout", [-0.1, 1.1])
def test_a_label_dropout_out_of_range_is_refused(label_dropout):
    with pytest.raises(ConfigError, match="label_dropout must be from 0 to 1"):
        labelled(label_dropout)


def test_denoising_moves_along_the_gradient_of_log_p():
    flow, x, labels = labelled(), events((1, 8, 8)), torch.tensor([0, 1, 2, 0, 1])
    moving = x.clone().requires_grad_()
    flow.log_prob(moving, labels).sum().backward()
    with torch.no_grad():  # as samples are drawn
        assert_close(flow.denoise(x, 0.3, labels), x + 0.3**2 * moving.grad)
    assert not flow.denoise(x, 0.3, labels).requires_grad


def test_denoising_recovers_the_posterior_mean_of_a_gaussian():
    """A flow at its start is standard normal in 2 x - 1; clean images then have a variance of 1/4 - noise_std^2."""
    flow, x = small_tarflow().double(), events((1, 8, 8))
    assert_close(flow.denoise(x, 0.1), 0.5 + (1 - 4 * 0.1**2) * (x - 0.5))


def test_a_density_that_jumps_does_not_denoise():
    with pytest.raises(ConfigError, match="no gradient to denoise by"):
        small_hierarchical().denoise(events((1, 8, 8)), 0.1)


def test_guided_samples_are_those_of_a_flow_with_guided_predictions():
    flow, x, labels = labelled(), events((1, 8, 8)), torch.tensor([0, 1, 2, 0, 1])
    guided = flow.guided(1.5)
    z = guided.encode(x, labels)
    assert_close(guided.decode(z, labels), x)
    assert not torch.allclose(z, flow.encode(x, labels))
    assert_close(flow.guided(0.0).encode(x, labels), flow.encode(x, labels))


def test_guidance_without_labels_takes_an_attention_temperature():
    flow, x = make_flow("tarflow"), events((1, 8, 8))
    assert not torch.allclose(flow.guided(1.0, 2.0).encode(x), flow.encode(x))
    assert_close(flow.guided(1.0, 1.0).encode(x), flow.encode(x))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (small_tarflow, "this flow has none; give an attention_temperature="),
        (lambda: labelled(label_dropout=0.0), "some labels hidden"),
        (small_resflow, "guidance is for model=tarflow and flow_matching"),
    ],
    ids=["no labels", "no hidden labels", "another model"],
)
def test_guidance_that_has_nothing_to_move_away_from_is_refused(build, message):
    with pytest.raises(ConfigError, match=message):
        build().guided(1.0)
