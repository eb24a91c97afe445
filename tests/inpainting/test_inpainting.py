"""Completions keep observed pixels, ascend to modes, and are drawn from the right conditional distribution."""

from functools import partial

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from torchvision.io import write_png

from nf_mnist.bijectors import Bijector, Flatten, Logit, Sequential
from nf_mnist.errors import ConfigError, DataError, NFMnistError, ShapeError
from nf_mnist.flows import Flow
from nf_mnist.hardware import autocast_of, dtype_of
from nf_mnist.inpainting import (
    HIDDEN,
    amortized,
    corrupt,
    crank_nicolson,
    logit_adam,
    logit_ascent,
    make_observed,
    mode,
    pixel_ascent,
    posterior,
)
from nf_mnist.inpainting.methods.initialization import N_GUESSES, noise, weighted_prior_sample
from nf_mnist.inpainting.methods.posterior import HamiltonianChains
from nf_mnist.metrics import split_r_hat
from tests.support.registry import make_flow

METHODS = {
    "pixel_ascent": partial(pixel_ascent, n_steps=5, step=1e-4),
    "logit_ascent": partial(logit_ascent, n_steps=5, step=0.01, clip=10.0),
    "logit_adam": partial(logit_adam, n_steps=5, step=0.05),
    "mode": partial(mode, n_steps=5, step=0.1, latent_weight=0.1),
    "posterior": partial(posterior, n_chains=2, n_warmup=3, thinning=1, n_leapfrog=2, step=0.1),
}
HIERARCHIES = {"amortized": "conditional", "crank_nicolson": "hierarchical"}  # method: the flow that it completes
OF_HIERARCHIES = {
    "amortized": amortized,
    "crank_nicolson": partial(crank_nicolson, n_chains=2, n_warmup=3, thinning=1, step=0.1),
}
ROOTS = torch.tensor([[0.8, 0.0], [0.9, 0.5]], dtype=torch.float64)  # covariance ROOTS @ ROOTS.T, of two logits
MEAN = torch.tensor([0.3, -0.2], dtype=torch.float64)


class Affine(Bijector):
    """z = ROOTS^-1 (y - MEAN)."""

    def forward_and_log_det(self, x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z = torch.linalg.solve_triangular(ROOTS, (x - MEAN).T, upper=False).T
        return z, -ROOTS.diagonal().log().sum().expand(len(x))

    def inverse_and_log_det(self, z: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return z @ ROOTS.T + MEAN, ROOTS.diagonal().log().sum().expand(len(z))


@pytest.fixture
def gaussian(float64) -> Flow:
    """Return the density of two pixels whose logits are jointly normal."""
    return Flow(Sequential([Logit(1e-5), Flatten((1, 1, 2)), Affine()]), (1, 1, 2))


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_masks_hide_what_they_say():
    shares = {name: 1 - make_observed(name, (1, 28, 28)).double().mean().item() for name in HIDDEN}
    for name in ("lower", "upper", "left", "right", "rows"):
        assert shares[name] == 0.5
    assert shares["centre"] == 14 * 14 / 784
    assert shares["random_50"] == pytest.approx(0.5, abs=0.06)
    assert shares["random_90"] == pytest.approx(0.9, abs=0.04)
    assert make_observed("lower", (1, 28, 28))[0, :14].all()
    assert make_observed("left", (1, 28, 28))[0, :, 14:].all()
    assert torch.equal(make_observed("random_50", (1, 28, 28), seed=3), make_observed("random_50", (1, 28, 28), seed=3))


def test_a_mask_can_be_a_picture(tmp_path):
    picture = torch.full((1, 8, 8), 255, dtype=torch.uint8)
    picture[:, :3] = 0
    write_png(picture, str(tmp_path / "mask.png"))
    assert torch.equal(make_observed(str(tmp_path / "mask.png"), (1, 8, 8)), picture > 0)
    with pytest.raises(ShapeError, match=r"the mask is \(1, 8, 8\), the images are \(1, 28, 28\)"):
        make_observed(str(tmp_path / "mask.png"), (1, 28, 28))
    write_png(torch.zeros(1, 8, 8, dtype=torch.uint8), str(tmp_path / "dark.png"))
    with pytest.raises(ShapeError, match="hides everything"):
        make_observed(str(tmp_path / "dark.png"), (1, 8, 8))
    with pytest.raises(DataError, match="missing or no picture"):
        make_observed(str(tmp_path / "nosuch.png"), (1, 8, 8))
    with pytest.raises(ConfigError, match="choose one of lower"):
        make_observed("nosuch", (1, 8, 8))


@pytest.mark.parametrize("corruption", ["gaussian_noise", "black", "uniform"])
def test_corruption_leaves_observed_pixels_bit_for_bit(corruption):
    x, observed = 1 - 0.5 * torch.rand(5, 1, 8, 8), make_observed("right", (1, 8, 8))
    corrupted = corrupt(x, observed, corruption, generator())
    assert not (corrupted[..., ~observed[0]] == x[..., ~observed[0]]).any()
    assert torch.equal(corrupted[..., observed[0]], x[..., observed[0]])
    with pytest.raises(ConfigError, match="choose gaussian_noise, black or uniform"):
        corrupt(x, observed, "nosuch", generator())


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "64-true"])
@pytest.mark.parametrize("name", [*METHODS, "amortized", "crank_nicolson"])
def test_completions_have_their_shape_and_keep_observed_pixels_bit_for_bit(name, precision):
    dtype, observed = dtype_of(precision), make_observed("lower", (1, 8, 8))
    method, flow = {**METHODS, **OF_HIERARCHIES}[name], make_flow(HIERARCHIES.get(name, "resflow"), dtype)
    x = ((torch.randint(256, (3, 1, 8, 8)) + 0.3) / 256).to(dtype)
    given = x.clone()
    with autocast_of(precision, x.device):
        found = method(flow, x, observed, n_samples=4, generator=generator())
        again = method(flow, x, observed, n_samples=4, generator=generator())
    assert found.x.dtype == dtype
    assert torch.equal(x, given)
    assert found.x.shape == (4, 3, 1, 8, 8)
    assert found.log_prob.shape == (4, 3)
    kept = observed.expand(4, 3, 1, 8, 8)
    assert torch.equal(found.x[kept], x.expand(4, 3, 1, 8, 8)[kept])
    assert found.x.min() >= 0
    assert found.x.max() <= 1
    assert torch.equal(found.x, again.x)


@pytest.mark.parametrize("name", ["posterior", "crank_nicolson"])
def test_chains_compute_in_full_precision_even_under_autocast(name):
    observed, x = make_observed("lower", (1, 8, 8)), (torch.randint(256, (3, 1, 8, 8)) + 0.3) / 256
    method, flow = {**METHODS, **OF_HIERARCHIES}[name], make_flow(HIERARCHIES.get(name, "resflow"), torch.float32)
    exact = method(flow, x, observed, n_samples=4, generator=generator())
    with autocast_of("bf16-mixed", x.device):
        found = method(flow, x, observed, n_samples=4, generator=generator())
    assert torch.equal(found.x, exact.x)
    assert torch.equal(found.log_prob, exact.log_prob)


@pytest.mark.parametrize("name", ["logit_ascent", "logit_adam", "mode"])
def test_ascent_on_a_gaussian_ends_at_its_conditional_mode(name, gaussian):
    x = torch.sigmoid(torch.tensor([1.2, 0.0], dtype=torch.float64)).reshape(1, 1, 1, 2)
    observed = torch.tensor([[[True, False]]])
    given = torch.special.logit(x[0, 0, 0, 0])
    covariance = ROOTS @ ROOTS.T
    expected = MEAN[1] + covariance[1, 0] / covariance[0, 0] * (given - MEAN[0])
    settings = {"logit_ascent": {"n_steps": 400}, "logit_adam": {"n_steps": 600}, "mode": {"n_steps": 200}}[name]
    method = partial(METHODS[name], **settings)
    if name == "mode":
        method = partial(method, latent_weight=0.0)
    found = method(gaussian, x, observed, n_samples=1, generator=generator())
    assert_close(torch.special.logit(found.x[0, 0, 0, 0, 1]), expected, atol=1e-2, rtol=0)
    assert found.trace[-1].item() > found.trace[0].item()
    assert found.n_gradients == settings["n_steps"]


def test_chains_begin_at_prior_samples_that_resemble_the_observed_pixels(gaussian):
    given = torch.tensor([0.2, 0.5, 0.9], dtype=torch.float64)
    x = torch.stack([given, torch.zeros(3)], 1).reshape(3, 1, 1, 2)
    observed = torch.tensor([[[True, False]]])
    starts = weighted_prior_sample(gaussian, x, observed, 200, generator()).unflatten(0, (200, 3))
    assert torch.equal(starts[..., 0].flatten(1), given.expand(200, 3))
    samples = gaussian.decode(gaussian.base.sample(N_GUESSES, generator()).double()).flatten(1)
    levels = (256 * starts[0, ..., 1].flatten()).floor()
    assert torch.isin(levels, (256 * samples[:, 1]).floor()).all(), "a sample, not a mean of samples"
    many = gaussian.decode(gaussian.base.sample(20_000, generator()).double()).flatten(1)
    away = (many[:, :1] - given).square()
    weights = (-away / (0.5 * away.std(0))).softmax(0)
    expected, spread = (weights * many[:, 1:]).sum(0), many[:, 1].std().item()
    assert_close(starts[..., 1].flatten(1).mean(0), expected, atol=4 * spread / 200**0.5, rtol=0)
    assert expected[2] - expected[0] > 8 * spread / 200**0.5, "more than chance apart"


def exact_moments(level: int) -> tuple[float, float]:
    """Return mean and standard deviation of the second logit given the level of the first pixel, by quadrature."""
    first = torch.special.logit((level + (torch.arange(400.0, dtype=torch.float64) + 0.5) / 400) / 256)
    second = torch.linspace(-12, 12, 4001, dtype=torch.float64)
    joint = torch.distributions.MultivariateNormal(MEAN, scale_tril=ROOTS)
    slope = 1 / (torch.sigmoid(first) * torch.sigmoid(-first))
    grid = torch.stack(torch.meshgrid(first, second, indexing="ij"), -1)
    weight = (joint.log_prob(grid).exp() * slope[:, None]).sum(0)
    mean = (weight * second).sum() / weight.sum()
    return mean.item(), ((weight * (second - mean) ** 2).sum() / weight.sum()).sqrt().item()


def drawn_logits(flow: Flow, level: int, monkeypatch) -> Tensor:
    """Return draws of the second logit: many chains with a long step, all of which start far away, in noise."""
    monkeypatch.setattr("nf_mnist.inpainting.methods.posterior.weighted_prior_sample", noise)
    x = torch.full((500, 1, 1, 2), (level + 0.5) / 256, dtype=torch.float64)
    observed = torch.tensor([[[True, False]]])
    settings = {"n_chains": 1, "n_warmup": 0, "thinning": 40, "n_leapfrog": 2, "step": 0.75}
    found = posterior(flow, x, observed, n_samples=4, generator=generator(), **settings)
    assert 0.4 < found.report["acceptance"] < 0.97, "a step at which the test has something to do"
    return torch.special.logit(found.x[..., 1].flatten())


@pytest.mark.parametrize("level", [150, 3])
def test_posterior_draws_have_the_moments_of_the_conditional_distribution(level, gaussian, monkeypatch):
    mean, std = exact_moments(level)
    draws = drawn_logits(gaussian, level, monkeypatch)
    error = std / len(draws) ** 0.5
    assert abs(draws.mean().item() - mean) < 4 * error
    assert abs(draws.std().item() - std) < 4 * error
    inside = ((draws - mean).abs() < 1.6449 * std).double().mean().item()
    assert inside == pytest.approx(0.9, abs=0.03), "coverage of the 90% interval"


def test_without_the_metropolis_test_the_moments_are_wrong(gaussian, monkeypatch):
    monkeypatch.setattr(HamiltonianChains, "_chance", lambda self, change: torch.full_like(change, 0.96))
    _, std = exact_moments(150)
    draws = drawn_logits(gaussian, 150, monkeypatch)
    assert abs(draws.std().item() - std) > 4 * std / len(draws) ** 0.5


def test_r_hat_tells_converged_chains_from_others():
    converged = torch.randn(4, 500, 3, dtype=torch.float64)
    assert (split_r_hat(converged) - 1).abs().max() < 0.02
    apart = converged + torch.arange(4.0)[:, None, None]
    assert split_r_hat(apart).min() > 1.3
    drifting = converged + torch.linspace(0, 4, 500)[None, :, None]
    assert split_r_hat(drifting).min() > 1.3


@pytest.mark.parametrize("name", METHODS)
def test_a_chain_or_ascent_that_meets_nan_stops_is_counted_and_never_reaches_the_output(name):
    flow, observed = make_flow("resflow", torch.float32), make_observed("lower", (1, 8, 8))
    real, calls = flow.forward, []

    def forward(x: Tensor, context: Tensor | None = None) -> tuple[Tensor, Tensor]:
        z, log_prob = real(x, context)
        calls.append(1)
        spoil = torch.zeros_like(log_prob)
        if len(calls) > 2 and log_prob.requires_grad:
            spoil[0] = float("nan")
        return z, log_prob + spoil

    flow.forward = forward
    found = METHODS[name](flow, torch.rand(3, 1, 8, 8), observed, n_samples=2, generator=generator())
    assert found.x.isfinite().all()
    assert found.report["stopped"] == 1


@pytest.mark.parametrize("name", METHODS)
def test_bad_images_masks_and_flows_are_refused(name):
    flow, x = make_flow("resflow", torch.float32), torch.rand(2, 1, 8, 8)
    run = partial(METHODS[name], generator=generator())
    half = make_observed("lower", (1, 8, 8))
    cases: list[tuple[type[NFMnistError], str, tuple, int]] = [
        (ShapeError, r"the mask is \(1, 28, 28\)", (flow, x, make_observed("lower", (1, 28, 28))), 2),
        (ShapeError, "hides nothing", (flow, x, torch.ones_like(half)), 2),
        (ShapeError, "hides everything", (flow, x, torch.zeros_like(half)), 2),
        (DataError, r"must lie in \[0, 1\]", (flow, 2 * x, half), 2),
        (ConfigError, "n_samples must be at least 1", (flow, x, half), 0),
        *(
            (ConfigError, "no gradient in x that leads anywhere", (make_flow(jumping, torch.float32), x, half), 2)
            for jumping in ("hierarchical", "resflow_gaussianize")
        ),
    ]
    for error, said, given, n_samples in cases:
        with pytest.raises(error, match=said):
            run(*given, n_samples=n_samples)
