"""Properties of single bijectors and masks beyond those of every bijector."""

import copy
import math

import pytest
import torch
from torch.testing import assert_close

from nf_mnist.bijectors import (
    ActNorm,
    AffineCoupling,
    BatchNorm,
    FactorOut,
    Flatten,
    Logit,
    Permutation,
    Squeeze,
    make_mask,
    random_order,
)
from nf_mnist.bijectors.coupling import SCALE_ACTIVATIONS
from nf_mnist.errors import ConfigError, NotInvertibleError, ShapeError
from nf_mnist.flows import Flow
from tests.support.registry import FLAT, IMAGE, coupling, events, small_cp3


def test_checkerboard_differs_from_its_neighbours_in_both_directions():
    mask = make_mask("checkerboard", (2, 6, 6))
    assert mask[0, 0, 0] == 1
    assert (mask[:, 1:] != mask[:, :-1]).all()
    assert (mask[:, :, 1:] != mask[:, :, :-1]).all()
    assert torch.equal(mask[0], mask[1])


def test_stripes_are_columns_on_an_even_width():
    mask = make_mask("stripes", (1, 6, 6))[0]
    assert (mask[1:] == mask[:-1]).all()
    assert mask[0].tolist() == [1, 0, 1, 0, 1, 0]


def test_flat_and_channel_masks():
    assert make_mask("even_odd", (5,)).tolist() == [1, 0, 1, 0, 1]
    assert make_mask("halves", (6,)).tolist() == [1, 1, 1, 0, 0, 0]
    assert make_mask("channel", (4, 2, 2)).flatten(1).tolist() == [[1] * 4] * 2 + [[0] * 4] * 2


@pytest.mark.parametrize(
    ("kind", "shape", "error"),
    [
        ("nosuch", (1, 4, 4), ConfigError),
        ("channel", (1, 4, 4), ShapeError),
        ("checkerboard", (16,), ShapeError),
        ("stripes", (16,), ShapeError),
        ("halves", (1, 4, 4), ShapeError),
        ("even_odd", (1, 4, 4), ShapeError),
    ],
)
def test_a_mask_that_does_not_suit_is_refused(kind, shape, error):
    with pytest.raises(error, match="mask"):
        make_mask(kind, shape)


def test_a_coupling_leaves_the_kept_elements_alone():
    layer, x = coupling(IMAGE, "channel").double(), events(IMAGE)
    z, _ = layer(x)
    assert torch.equal(z[:, :2], x[:, :2])
    assert (z[:, 2:] != x[:, 2:]).all()


def test_a_coupling_does_not_see_what_it_transforms():
    layer, x = coupling(IMAGE, "channel").double(), events(IMAGE)
    other = x.clone()
    other[:, 2:] = 0.3
    assert torch.equal(layer(x)[1], layer(other)[1])


def test_the_scale_of_jet_is_twice_a_sigmoid():
    raw = torch.tensor([-3, 0, 3, 1e30], dtype=torch.float64)
    assert_close(SCALE_ACTIVATIONS["twice_sigmoid"](raw).exp(), 2 * torch.sigmoid(raw))


@pytest.mark.parametrize(("scale", "bound"), [("tanh", 1), ("soft_clamp", 2), ("double_tanh", math.tanh(1))])
def test_log_scales_are_bounded(scale, bound):
    raw = torch.tensor([-1e30, -3, 0, 3, 1e30], dtype=torch.float64)
    assert SCALE_ACTIVATIONS[scale](raw).abs().max() <= bound
    assert SCALE_ACTIVATIONS[scale](raw[2:3]) == 0


def test_the_second_skip_and_tanh_of_the_diary_only_tighten_the_bound():
    layer, x = coupling(IMAGE, "checkerboard").double(), 10 * events(IMAGE)
    kept = x * layer.mask
    network = torch.tanh(layer.scale_net(kept) + kept)  # as the diary's networks end
    planted = (1 - layer.mask) * torch.tanh(network + kept)
    layer.scale_activation = SCALE_ACTIVATIONS["double_tanh"]
    log_scale, _ = layer._parameters_given(x, None)
    assert_close(log_scale, planted)
    assert planted.abs().max() <= math.tanh(1)


def test_an_unbounded_scale_overflows_and_a_bounded_one_does_not():
    x = torch.ones(1, *FLAT)
    for scale, finite in (("none", False), ("tanh", True)):
        layer = coupling(FLAT, "halves", scale)
        with torch.no_grad():
            layer.scale_net[3].bias.fill_(1000.0)
        assert layer(x)[0].isfinite().all() == finite


def test_an_unknown_scale_is_refused():
    with pytest.raises(ConfigError, match="unknown scale_activation 'nosuch'"):
        AffineCoupling(torch.ones(2), torch.nn.Identity(), torch.nn.Identity(), "nosuch")


def test_a_coupling_hands_its_context_to_both_networks():
    class Conditioned(torch.nn.Module):
        def forward(self, kept, context):
            return kept + context

    layer, x = AffineCoupling(make_mask("halves", FLAT), Conditioned(), Conditioned()), torch.rand(3, *FLAT)
    one, other = layer(x, torch.zeros(3, *FLAT))[0], layer(x, torch.ones(3, *FLAT))[0]
    assert not torch.equal(one, other)
    back, _ = layer.inverse_and_log_det(other, torch.ones(3, *FLAT))
    assert_close(back, x)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_log_det_stays_in_the_dtype_of_x_when_networks_are_rounded(dtype):
    class Rounded(torch.nn.Module):
        def forward(self, kept):
            return torch.full_like(kept, 1 / 3, dtype=dtype)

    z, log_det = AffineCoupling(make_mask("halves", FLAT), Rounded(), Rounded())(torch.rand(3, *FLAT))
    assert z.dtype == log_det.dtype == torch.float32
    in_float32 = 6 * math.tanh(float(torch.tensor(1 / 3, dtype=dtype)))
    assert_close(log_det, torch.full((3,), in_float32), rtol=1e-6, atol=0)


def test_logit_is_the_logit_and_refuses_a_margin_out_of_range():
    y, log_det = Logit(0.25)(torch.tensor([[0.0], [0.5], [1.0]]))
    assert_close(y, torch.tensor([[math.log(1 / 3)], [0.0], [math.log(3)]]))
    assert_close(log_det[1], torch.tensor(math.log(0.5 / 0.25)))  # (1 - 2a) / (p (1 - p)) at p = 1/2
    for alpha in (-0.1, 0.5):
        with pytest.raises(ConfigError, match="alpha"):
            Logit(alpha)


def test_logit_that_is_not_counted_adds_nothing():
    x = events((1, 4, 4))
    counted, silent = Logit(count_log_det=True), Logit(count_log_det=False)
    assert torch.equal(counted(x)[0], silent(x)[0])
    assert torch.equal(silent(x)[1], torch.zeros(5).double())
    assert (counted(x)[1] > 0).all()


@pytest.mark.parametrize("shape", [IMAGE, FLAT])
def test_actnorm_normalizes_its_first_batch_and_only_that(shape):
    layer, x = ActNorm(shape, eps=1e-12).double(), 3 + 5 * torch.randn(50, *shape).double()
    z, _ = layer(x)
    axes = (0, *range(2, z.dim()))
    assert_close(z.mean(axes), torch.zeros_like(z.mean(axes)), atol=1e-9, rtol=0)
    assert_close(z.var(axes, correction=0), torch.ones_like(z.mean(axes)))
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    layer(x + 1)
    assert all(torch.equal(before[name], value) for name, value in layer.state_dict().items())
    reloaded = ActNorm(shape, eps=1e-12).double()
    reloaded.load_state_dict(before)
    assert torch.equal(reloaded(x + 1)[0], layer(x + 1)[0]), "a reloaded layer does not initialise itself again"


def test_actnorm_begins_anew_when_a_state_from_before_its_first_batch_is_loaded():
    layer, x = ActNorm(FLAT).double(), 3 + 5 * torch.randn(50, *FLAT).double()
    begin = copy.deepcopy(layer.state_dict())
    layer.train()(x)
    layer.load_state_dict(begin)
    assert layer(x)[0].std(0, correction=0).mean().item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("layer", [BatchNorm(FLAT), ActNorm(FLAT)])
def test_statistics_of_a_single_number_are_refused(layer):
    with pytest.raises(ConfigError, match=r"raise data\.batch_size"):
        layer.train()(torch.rand(1, *FLAT))


def test_actnorm_is_the_identity_until_it_has_seen_a_training_batch():
    x = events(FLAT)
    assert torch.equal(ActNorm(FLAT).double().eval()(x)[0], x)


@pytest.mark.parametrize("shape", [IMAGE, FLAT])
def test_batchnorm_normalizes_each_training_batch_and_mixes_its_statistics(shape):
    layer, x = BatchNorm(shape, momentum=0.25).double(), 3 + 5 * torch.randn(50, *shape).double()
    z, log_det = layer(x)
    axes = (0, *range(2, z.dim()))
    assert_close(z.mean(axes), torch.zeros_like(z.mean(axes)), atol=1e-9, rtol=0)
    assert_close(layer.running_mean.flatten(), 0.25 * x.mean(axes))
    assert_close(layer.running_var.flatten(), 0.75 + 0.25 * x.var(axes, correction=0))
    n_pixels = x[0].numel() // x.shape[1]
    assert_close(log_det[0], -0.5 * n_pixels * (x.var(axes, correction=0) + 1e-5).log().sum())


def test_the_running_policy_normalizes_by_the_mixed_statistics_in_both_modes():
    layer, x = BatchNorm(FLAT, momentum=0.1, policy="running").double(), torch.randn(50, *FLAT).double() + 2
    z, log_det = layer(x)
    in_evaluation = layer.eval()(x)
    assert_close(z, in_evaluation[0])
    assert_close(log_det, in_evaluation[1])
    assert_close(layer.train().inverse_and_log_det(z)[0], x)


def test_batch_statistics_refuse_to_invert_in_training_mode():
    layer = BatchNorm(FLAT)
    with pytest.raises(NotInvertibleError, match=r"^[^\n]*flow.eval\(\)[^\n]*$"):
        layer.inverse_and_log_det(torch.zeros(2, *FLAT))
    flow: Flow = small_cp3().train()
    with pytest.raises(NotInvertibleError):
        flow.sample(2)


def test_a_permutation_is_one_and_is_stored_with_the_weights():
    layer = Permutation(random_order(100, seed=3))
    z, log_det = layer(torch.arange(100.0)[None])
    assert sorted(z[0].tolist()) == list(range(100))
    assert z[0].tolist() != list(range(100))
    assert log_det.item() == 0
    other = Permutation(random_order(100, seed=4))
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(z)[0], layer(z)[0])


def test_squeeze_gathers_each_block_of_four_pixels():
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    z, _ = Squeeze((1, 4, 4))(x)
    assert z.shape == (1, 4, 2, 2)
    assert z[0, :, 0, 0].tolist() == [0, 1, 4, 5]


def test_squeeze_and_factor_out_refuse_shapes_that_do_not_divide():
    with pytest.raises(ShapeError, match="even sides, got 3x4"):
        Squeeze((1, 3, 4))
    with pytest.raises(ShapeError, match="n_kept=3 of 3"):
        FactorOut((3, 4, 4), 3, Flatten((3, 4, 4)))
