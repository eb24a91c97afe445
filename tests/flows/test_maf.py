"""Masked autoregressive flows: what an element's map may see, and that both directions agree."""

import csv

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from nf_mnist.bijectors import AffineMap, MaskedAutoregression
from nf_mnist.errors import ConfigError
from nf_mnist.flows import Flow, maf, normalization, preprocessing
from nf_mnist.nets import MaskedMLP
from nf_mnist.nets.masked_mlp import MIN_ROWS
from tests.support.helpers import VIEWS, fit, integral_over_two_pixels
from tests.support.registry import events, make_flow, small_maf, unsettle

ORDER = torch.tensor([3, 0, 4, 1, 2])


def network(n_classes: int = 0) -> MaskedMLP:
    return unsettle(MaskedMLP(ORDER.argsort(), 40, 2, n_classes)).double()


def sees(net: MaskedMLP) -> torch.Tensor:
    """Return whether the values for each element (rows) depend on each element (columns)."""
    x = torch.rand(1, 5, dtype=torch.float64, requires_grad=True)
    jacobian = torch.autograd.functional.jacobian(net, x)[0, :, :, 0]
    return (jacobian != 0).any(0)


def test_an_element_is_predicted_from_all_earlier_ones_and_no_others():
    position = ORDER.argsort()
    assert torch.equal(sees(network()), position[:, None] > position)


def test_a_mask_that_lets_an_element_see_itself_is_noticed():
    net, position = network(), ORDER.argsort()
    net.in_mask = position <= (torch.arange(40) * 4 // 40)[:, None] + 1
    assert not torch.equal(sees(net), position[:, None] > position)


@pytest.mark.parametrize("order", ["onward", "backward", "random"])
def test_products_in_blocks_are_those_of_the_whole_masks(order):
    position = {"onward": torch.arange(20), "backward": torch.arange(19, -1, -1), "random": torch.randperm(20)}[order]
    net, x = unsettle(MaskedMLP(position, 4 * MIN_ROWS, 2)).double(), torch.randn(3, 20, dtype=torch.float64)
    hidden = F.linear(x, net.in_mask * net.proj_in.weight, net.proj_in.bias).relu()
    whole = F.linear(hidden, net.out_mask * net.proj_out.weight, net.proj_out.bias).unflatten(1, (2, 20))
    assert len(net.blocks_in) == len(net.blocks_out) == 4
    assert_close(net(x), whole)
    weights = net.proj_in.weight, net.proj_out.weight
    for found, expected in zip(
        *(torch.autograd.grad(one.sin().sum(), weights) for one in (net(x), whole)), strict=True
    ):
        assert_close(found, expected)
    if order != "random":
        n_columns = [sum(block.stop - block.start for block in blocks) for blocks in (net.blocks_in, net.blocks_out)]
        assert max(n_columns[0] / 20, n_columns[1] / (4 * MIN_ROWS)) <= 4 * 0.65


@pytest.mark.parametrize("n_classes", [0, 3])
def test_predictions_step_by_step_are_those_of_a_whole_pass(n_classes):
    net, x = network(n_classes), torch.randn(6, 5, dtype=torch.float64)
    labels = torch.arange(6) % 3 if n_classes else None
    whole, prediction = net(x, labels), net.begin(6, labels)
    for element in ORDER.tolist():
        assert_close(prediction.predict(element), whole[:, :, element], rtol=1e-12, atol=1e-12)
        prediction.observe(element, x[:, element])


@pytest.mark.parametrize("predicted_from", ["data", "latent"])
@pytest.mark.parametrize("transform", ["affine", "spline"])
def test_a_density_of_two_pixels_integrates_to_one(predicted_from, transform):
    flow = maf(
        event_shape=(1, 1, 2),
        preprocess=preprocessing("symmetric", 0.0, True),
        norm=normalization("none", 0.1, "running", 1e-5),
        n_layers=2,
        hidden_features=16,
        transform=transform,
        scale_activation="tanh",
        n_bins=4,
        bound=3.0,
        predicted_from=predicted_from,
        n_classes=0,
    )
    flow = unsettle(flow).double().eval()
    assert integral_over_two_pixels(flow, -8, 9, 801) == pytest.approx(1, rel=1e-4)


def test_a_latent_of_an_inverse_flow_is_predicted_in_one_pass_and_its_data_step_by_step():
    flow = make_flow("iaf")
    calls = []
    nets = [module for module in flow.modules() if isinstance(module, MaskedMLP)]
    for net in nets:
        net.register_forward_hook(lambda *_: calls.append(1))
    flow.sample(3)
    assert len(calls) == len(nets)
    calls.clear()
    flow.encode(events(flow.event_shape))
    assert not calls


def test_every_pixel_depends_on_its_label():
    flow = unsettle(small_maf(n_classes=3)).double().eval()
    x = events(flow.event_shape)[:1].double()
    one, other = (flow.log_prob(x, torch.tensor([label])) for label in (0, 2))
    assert one.item() != pytest.approx(other.item(), abs=1e-6)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"transform": "cubic"}, "model.flow.transform must be one of affine, spline, got 'cubic'"),
        ({"predicted_from": "both"}, "model.flow.predicted_from must be one of data, latent, got 'both'"),
    ],
)
def test_settings_that_are_unknown_are_refused(settings, said):
    with pytest.raises(ConfigError, match=said):
        small_maf(**settings)


def test_an_order_that_is_no_permutation_is_refused():
    with pytest.raises(ConfigError, match=r"the order of 3 elements must be a permutation of 0 .. 2"):
        MaskedAutoregression(torch.tensor([0, 1, 1]), network(), AffineMap("tanh"))


def test_an_untrained_layer_is_the_identity():
    flow: Flow = small_maf().double().eval()
    x = events(flow.event_shape).double()
    z = flow.encode(x)
    logit = flow.bijector.parts()[0](x)[0].flatten(1)
    assert_close(z, logit, rtol=0, atol=1e-12)


@pytest.mark.slow
def test_the_settings_of_the_model_train_it(tmp_path):
    settings = ["model=maf", "model.flow.hidden_features=256", "trainer.max_steps=600", "scheduler=constant"]
    settings += ["trainer.val_check_interval=200", "callbacks.statistics.n_batches=20", "trainer.limit_val_batches=2"]
    settings += [f"callbacks.{view}=null" for view in (*VIEWS, "health")]
    trained = fit([*settings, f"output_dir={tmp_path}", "name=maf", "logger.tensorboard=null"])
    with next(tmp_path.rglob("metrics.csv")).open() as file:
        bpd = [float(row["val/bpd"]) for row in csv.DictReader(file) if row["val/bpd"]]
    assert bpd == sorted(bpd, reverse=True), "each validation is better than the last"
    assert trained.trainer.global_step == 600
