"""Invertible residual blocks: unbiased log-determinants and gradients, an inverse that converges or raises."""

import copy
import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from nf_mnist.bijectors import InvertibleResidual, LogDetSeries
from nf_mnist.errors import NotInvertibleError, SettingError
from tests.support.registry import events, invertible_residual, unsettle

SHAPES = ((1, 6, 6), (4, 3, 3), (5,))
N_CALLS, N_COPIES = 100, 10  # 1,000 draws, of which ten share the number of terms
WEIGHTS = torch.tensor([0.0, 0.0, 1.0, 3.0], dtype=torch.float64)
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)


def block(shape: tuple[int, ...], n_terms: int = 2) -> InvertibleResidual:
    """Return a block in evaluation mode whose Jacobian is large: steep layers, and weights of one sign that add up."""
    torch.manual_seed(1)
    found = unsettle(invertible_residual(shape, LogDetSeries(n_terms, n_terms)))
    with torch.no_grad():
        found.net.raw_steepness += 2
        for conv in found.net.convs:
            conv.weight.abs_()
    return found.double().eval()


def exact(estimating: InvertibleResidual) -> InvertibleResidual:
    """Return the same block with exact log-determinants."""
    return InvertibleResidual(estimating.net, None).eval()


def standard_errors(draws: Tensor, expected: Tensor) -> Tensor:
    """Return by how many standard errors means over calls, shape (calls, ...), differ from what is expected."""
    return (draws.mean(0) - expected) / (draws.std(0) / math.sqrt(len(draws)))


def directional_gradients(log_det: Tensor, leaves: list[Tensor]) -> Tensor:
    """Return the gradients of weighted log-determinants along a random direction of each leaf."""
    n_copies = len(log_det) // len(WEIGHTS)
    gradients = torch.autograd.grad((log_det * WEIGHTS.repeat(n_copies)).sum() / n_copies, leaves)
    generator = torch.Generator().manual_seed(4)
    directions = [torch.randn(leaf.shape, generator=generator, dtype=leaf.dtype) for leaf in leaves]
    return torch.stack([(one * other).sum() for one, other in zip(gradients, directions, strict=True)]).detach()


@shapes
@torch.no_grad()
def test_the_mean_of_estimates_is_the_exact_log_determinant(shape):
    estimating, x = block(shape), events(shape, n=4)
    copies = x.repeat(N_COPIES, *[1] * len(shape))
    draws = torch.stack([estimating(copies)[1].unflatten(0, (N_COPIES, 4)).mean(0) for _ in range(N_CALLS)])
    assert standard_errors(draws, exact(estimating)(x)[1]).abs().max() < 4


@shapes
@pytest.mark.parametrize("recompute", [False, True])
def test_the_mean_of_gradients_is_exact_for_unequal_weights(shape, recompute):
    estimating, x = block(shape), events(shape, n=4)
    estimating.recompute = recompute
    copies = x.repeat(N_COPIES, *[1] * len(shape)).requires_grad_()
    leaves = [value for name, value in estimating.named_parameters() if name != "net.convs.2.bias"]
    expected = directional_gradients(exact(estimating)(x)[1], leaves)
    draws = torch.stack([directional_gradients(estimating(copies)[1], leaves) for _ in range(N_CALLS)])
    assert standard_errors(draws, expected).abs().max() < 4


@pytest.mark.parametrize("recompute", [False, True])
def test_events_of_no_weight_have_no_gradient(recompute):
    estimating, x = block((1, 6, 6)), events((1, 6, 6), n=4).requires_grad_()
    estimating.recompute = recompute
    (estimating(x)[1] * WEIGHTS).sum().backward()
    assert [bool(event.any()) for event in x.grad] == [False, False, True, True]


def test_recomputing_changes_no_gradient():
    keeping, x = block((4, 3, 3)), events((4, 3, 3), n=4)
    recomputing = copy.deepcopy(keeping)
    recomputing.recompute = True
    found = []
    for each in (keeping, recomputing):
        torch.manual_seed(5)
        leaf = x.clone().requires_grad_()
        z, log_det = each(leaf)
        (z.pow(3).sum() + (log_det * WEIGHTS).sum()).backward()
        found.append([leaf.grad, *(parameter.grad for parameter in each.parameters())])
    assert_close(found[1], found[0], rtol=1e-10, atol=1e-12)


def test_what_is_kept_for_the_backward_pass_does_not_grow_with_the_number_of_terms():
    x = events((1, 6, 6), n=64)
    for n_terms in (1, 12):
        estimating = block((1, 6, 6), n_terms)
        estimating.recompute = True
        kept = estimating(x)[1].grad_fn.saved_tensors
        assert sum(value.numel() for value in kept if value.shape == x.shape) == 3 * x.numel()
        weights = sum(value.numel() for value in estimating.parameters())
        assert sum(value.numel() for value in kept if value.shape != x.shape) < weights


@pytest.mark.parametrize("name", ["data", "latents"])
@torch.no_grad()
def test_the_residual_of_the_inverse_is_small_in_float32(name):
    flow_block = block((1, 28, 28)).float()
    generator = torch.Generator().manual_seed(7)
    z = {"data": events((1, 28, 28), n=8, dtype=torch.float32).logit(), "latents": torch.randn(8, 1, 28, 28)}[name]
    z = z + 0.01 * torch.rand(z.shape, generator=generator)
    x, _ = flow_block.inverse_and_log_det(z)
    assert (flow_block(x)[0] - z).abs().max() <= 1e-5


def test_a_network_that_is_no_contraction_has_no_inverse():
    expanding = block(SHAPES[0])
    for conv in expanding.net.convs:
        conv.coefficient = 20.0
    with pytest.raises(NotInvertibleError, match=r"came to a residual of \d.* its network is no contraction"):
        expanding.inverse_and_log_det(10 * torch.randn(8, *SHAPES[0], dtype=torch.float64))


def test_a_series_of_negative_length_is_refused():
    with pytest.raises(SettingError, match="n_terms must be at least 0, got -1"):
        LogDetSeries(-1, 20)
    with pytest.raises(SettingError, match="n_evaluation_terms must be at least 0, got -2"):
        LogDetSeries(2, -2)


def test_a_term_is_divided_by_the_probability_that_it_is_reached():
    torch.manual_seed(0)
    series, n = LogDetSeries(1, 3), 2000
    lengths = torch.tensor([len(series.draw_factors(is_training=True)) for _ in range(n)])
    assert lengths.min() == 1
    assert (lengths > 2).double().mean().item() == pytest.approx(0.25, abs=4 * math.sqrt(0.25 * 0.75 / n))
    assert min(len(series.draw_factors(is_training=False)) for _ in range(20)) == 3
    assert next(f for f in iter(lambda: series.draw_factors(True), None) if len(f) == 4) == [1, 2, 4, 8]


def test_blocks_of_large_images_estimate_and_say_so():
    assert block((5,)).estimates_log_det
    assert not exact(block((5,))).estimates_log_det
