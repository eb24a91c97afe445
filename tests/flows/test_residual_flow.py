"""The residual flow: its density, its settings, its evaluation, its averaged weights, and what diagnose says of it."""

import lightning as L
import pytest
import torch
from torch.testing import assert_close

from nf_mnist.app.building import build_flow
from nf_mnist.bijectors import ActNorm, Flatten, InvertibleResidual, Squeeze
from nf_mnist.data import UniformDequantizer
from nf_mnist.errors import ConfigError, SettingError
from nf_mnist.flows import normalization, preprocessing, residual_flow
from nf_mnist.inpainting.logits import log_prob_of_images
from nf_mnist.metrics import evaluate_flow
from nf_mnist.nets import SpectralConv
from tests.nets.test_contractive import spectral_norm
from tests.support.diagnosis_tasks import bars, first_failure, make_task, results, trained
from tests.support.helpers import SMALL, compose_config, fit, integral_over_two_pixels, tiny_overrides, write_images
from tests.support.registry import events, small_residual_flow, unsettle

CONTRACTIONS = "residual networks are contractions"


def test_a_density_of_two_pixels_integrates_to_one():
    flow = residual_flow(
        event_shape=(1, 1, 2),
        preprocess=preprocessing("symmetric", 0.0, True),
        norm=normalization("none", 0.1, "running", 1e-5),
        n_scales=1,
        n_blocks=2,
        hidden_channels=8,
        n_dense_blocks=1,
        dense_features=8,
        coefficient=0.9,
        log_det="exact",
        n_terms=2,
        n_evaluation_terms=20,
    )
    flow = unsettle(flow).double().eval()
    assert integral_over_two_pixels(flow, -10, 11, 301) == pytest.approx(1, rel=1e-4)


def test_blocks_and_normalisations_take_turns_at_each_scale():
    flow = small_residual_flow(n_scales=2, n_blocks=2, n_dense_blocks=1)
    kinds = [ActNorm, *2 * [InvertibleResidual, ActNorm], Squeeze, *2 * [InvertibleResidual, ActNorm], Flatten]
    kinds += [InvertibleResidual, ActNorm]
    assert [type(layer) for layer in flow.bijector.parts()[1:]] == kinds


def test_the_default_model_recomputes_and_estimates():
    flow = build_flow(compose_config(["model=residual_flow", *SMALL["residual_flow"]]).model)
    blocks = [part for part in flow.modules() if isinstance(part, InvertibleResidual)]
    assert len(blocks) == 3
    assert all(block.recompute and block.estimates_log_det for block in blocks)
    assert flow.bijector.estimates_log_det


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"coefficient": 1.0}, "coefficient must be between 0 and 1, both excluded, got 1.0"),
        ({"n_terms": -1}, "n_terms must be at least 0, got -1"),
        ({"n_blocks": -1}, "n_blocks must be at least 0, got -1"),
    ],
)
def test_settings_out_of_range_are_refused(settings, said):
    with pytest.raises(SettingError, match=said):
        small_residual_flow(**settings)


def test_an_unknown_log_determinant_is_refused():
    with pytest.raises(ConfigError, match=r"model.flow.log_det must be one of estimated, exact, got 'guessed'"):
        small_residual_flow(log_det="guessed")


def test_an_evaluation_of_estimates_is_repeatable_and_states_its_standard_error():
    flow = unsettle(small_residual_flow(log_det="estimated", n_evaluation_terms=3)).eval()
    settings = {"n_images": None, "n_draws": 4, "batch_size": 50, "seed": 3}
    images = bars(50, flow.event_shape[1])
    one, other = (evaluate_flow(flow, UniformDequantizer(), images, **settings).metrics for _ in range(2))
    assert one == other
    assert "bpd_log_mean_exp" not in one, "it would be biased"
    exact = unsettle(small_residual_flow()).eval()
    exact.load_state_dict(flow.state_dict())
    expected = evaluate_flow(exact, UniformDequantizer(), images, **settings).metrics
    assert 0 < abs(one["bpd"] - expected["bpd"]) < one["bpd_standard_error"]


def test_the_noise_of_an_estimate_decides_no_metropolis_test():
    flow = unsettle(small_residual_flow(log_det="estimated", n_evaluation_terms=2)).double().eval()
    x = events(flow.event_shape)
    assert not torch.equal(flow.log_prob(x), flow.log_prob(x))
    assert_close(log_prob_of_images(flow, x)[1], log_prob_of_images(flow, x)[1], rtol=0, atol=0)


class Norms(L.Callback):
    """Keeps the norms of all normalised kernels with which validation begins."""

    def __init__(self) -> None:
        self.found: list[float] = []

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx, dataloader_idx=0):
        convs = [part for part in pl_module.modules() if isinstance(part, SpectralConv)]
        with torch.enable_grad():
            for conv in convs:
                self.found.append(spectral_norm(conv.kernel().detach(), tuple(conv.right.shape[2:])).item())


def test_averaged_weights_are_validated_with_norms_below_one(tmp_path):
    images = write_images(tmp_path / "images.npz", side=8)
    norms = Norms()
    overrides = [*tiny_overrides(images, tmp_path / "run", "residual_flow"), "optimizer.lr=0.05"]
    fit([*overrides, "trainer.max_steps=6", "trainer.val_check_interval=6", "logger.tensorboard=null"], [norms])
    assert norms.found
    assert max(norms.found) < 1


@pytest.mark.slow
def test_diagnose_finds_no_fault_in_a_briefly_trained_flow_and_names_a_coefficient_above_one():
    torch.manual_seed(0)
    settings = {"log_det": "estimated", "hidden_channels": 8}
    flow = trained(small_residual_flow(**settings), bars(500, 8), 30)
    healthy = results(make_task(flow))
    assert not {name: result for name, result in healthy.items() if result.status == "fail"}
    assert "estimates" in healthy["same input, same output"].measured
    for conv in (part for part in flow.modules() if isinstance(part, SpectralConv)):
        conv.coefficient = 1.2
        with torch.no_grad():
            conv.weight *= 10
    failure = first_failure(make_task(flow.train().eval()))
    assert failure.check == CONTRACTIONS
    assert "1.73" in failure.measured, "1.2 cubed"
    assert "no contraction" in failure.cause
    assert failure.overrides == ("model.flow.coefficient=0.98",)
